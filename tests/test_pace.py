"""A server that holds the others up is done without, and one that does not is kept."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from harness import Record, ServerProcess, wait_for, write_dataset
from proxy import Proxy, Slow

import headrace
from headrace import pace
from headrace.endpoint import ConnectOptions, Endpoint
from headrace.pace import Pace
from headrace.servers import Servers

ARGUMENTS = ("--transforms", '[{"name": "Resize", "size": [64, 64]}]')
ASKED = {"batch_size": 8, "shuffle": True, "seed": 5}


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("pace") / "birds", {"a": 60, "b": 60})


@pytest.fixture(scope="module")
def pair(birds: Path) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    with ServerProcess(birds, *ARGUMENTS) as one, ServerProcess(birds, *ARGUMENTS) as other:
        yield one, other


class Race:
    """Servers that need some seconds for a batch, work ahead, and are asked in turns; by a clock of its own."""

    def __init__(self, *seconds: float) -> None:
        urls = [f"http://127.0.0.1:{port}" for port in range(1, len(seconds) + 1)]
        self.servers = Servers(urls, ConnectOptions())
        self.needs = dict(zip(self.servers.each(), seconds, strict=True))
        self.now = 0.0
        self.pace = Pace(self.servers, lambda: self.now)
        self.batches = 0

    def run(self, batches: int, *, trainer: float = 0.0) -> list[Endpoint]:
        """Gives who is used in the end."""
        ready: dict[Endpoint, float] = {}
        for _ in range(batches):
            peers = self.servers.each()
            endpoint = peers[self.batches % len(peers)]
            came = max(self.now, ready.get(endpoint, self.now + self.needs[endpoint]))
            held_up = all(ready.get(peer, math.inf) <= self.now for peer in peers if peer is not endpoint)
            self.pace.waited(endpoint, (came - self.now) * held_up, peers)
            ready[endpoint] = max(ready.get(endpoint, came), came - 32 * self.needs[endpoint]) + self.needs[endpoint]
            self.now = max(self.now + trainer, came)
            self.batches += 1
        return self.servers.each()

    def close(self) -> None:
        self.servers.close()


@pytest.fixture
def race() -> Iterator[list[Race]]:
    races: list[Race] = []
    yield races
    for each in races:
        each.close()


@pytest.mark.parametrize("count", [2, 3, 8])
def test_the_slow_one_goes(race: list[Race], count: int) -> None:
    race.append(Race(*[0.05] * (count - 1), 5.0))
    slow = race[0].servers.each()[-1]
    assert slow not in race[0].run(20 * count)
    assert "slow" in race[0].servers.troubles()


@pytest.mark.parametrize("needs", [(0.05, 0.05), (0.05, 0.06), (0.05, 0.06, 0.07), (0.05, 0.08)])
def test_the_slowest_of_those_that_are_all_needed_stays(race: list[Race], needs: tuple[float, ...]) -> None:
    race.append(Race(*needs))
    race[0].run(3000)
    began = race[0].now
    counts = [len(race[0].run(1)) for _ in range(3000)]
    assert race[0].now > began
    assert np.mean([count == len(needs) for count in counts]) > 0.9


def test_a_trainer_that_is_slower_than_all_keeps_all(race: list[Race]) -> None:
    race.append(Race(0.05, 0.5))
    assert len(race[0].run(300, trainer=0.6)) == 2


def test_who_is_alone_is_never_suspected(race: list[Race]) -> None:
    race.append(Race(5.0))
    assert len(race[0].run(50)) == 1


def test_a_slow_one_is_taken_back_where_all_others_fail(race: list[Race]) -> None:
    race.append(Race(0.05, 5.0))
    quick, slow = race[0].servers.each()
    assert race[0].run(40) == [quick]
    race[0].servers.failed(quick, headrace.ConnectionFailed("gone"))
    assert race[0].servers.each() == [slow]


def test_a_slow_network_before_one_server_slows_nobody_for_long(
    pair: tuple[ServerProcess, ServerProcess], monkeypatch: pytest.MonkeyPatch, record: Record
) -> None:
    """And it is used again when it is as fast as the others."""
    monkeypatch.setattr(pace, "_LEAST_SECONDS", 0.3)
    monkeypatch.setattr(pace, "_FIRST_PAUSE", 0.5)
    with headrace.connect(pair[0].url) as client:
        undisturbed = [batch["image"] for batch in client.dataset("birds", **ASKED)]
    with Proxy(pair[1].port, slow := Slow(0.1)) as proxy, headrace.connect([pair[0].url, proxy.url]) as client:
        data = client.dataset("birds", **ASKED, epochs=10_000, prefetch=1)
        batches = enumerate(data)

        def take() -> bool:
            number, batch = next(batches)
            if number < len(undisturbed):
                assert np.array_equal(batch["image"], undisturbed[number])
            return True

        wait_for(lambda: take() and "slow: " in data.stats().troubles, "the slow server to be left out")
        record(f"a server behind a slow network was left out: {data.stats().troubles}")
        slow.seconds = 0.0
        wait_for(lambda: take() and not data.stats().troubles, "the server to be taken back")


def test_a_batch_that_trickles_in_is_had_from_the_other_server(pair: tuple[ServerProcess, ServerProcess]) -> None:
    with headrace.connect(pair[0].url) as client:
        undisturbed = [batch["image"] for batch in client.dataset("birds", **ASKED)]
    with (
        Proxy(pair[1].port, slow := Slow(0.0)) as proxy,
        headrace.connect([pair[0].url, proxy.url], stall_timeout=0.5) as client,
    ):
        data = client.dataset("birds", **ASKED)
        slow.seconds = 1.0
        batches = [batch["image"] for batch in data]
        assert all(map(np.array_equal, batches, undisturbed))
        assert data.stats().reconnects > 0


def test_alone_a_server_may_be_slow(pair: tuple[ServerProcess, ServerProcess]) -> None:
    with (
        Proxy(pair[1].port, slow := Slow(0.0)) as proxy,
        headrace.connect(proxy.url, stall_timeout=0.2) as client,
    ):
        data = client.dataset("birds", **ASKED)
        slow.seconds = 0.2
        assert len(list(data)) == math.ceil(120 / 8)
        assert data.stats().reconnects == 0
