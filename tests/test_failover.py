"""Servers and networks that fail while a trainer reads: it gets what an undisturbed run gives, bit for bit."""

from __future__ import annotations

import contextlib
import copy
import logging
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import LONG, Api, Record, ServerProcess, wait_for, write_dataset
from proxy import BufferingProxy, CutAfter, FlipBit, Harm, Proxy, StallAfter, nothing

import headrace

SAMPLES, BATCH = 240, 8
ARGUMENTS = ("--transforms", '[{"name": "Resize", "size": [48, 48]}]', "--ping-seconds", "0.2")


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("faults") / "birds", {"a": SAMPLES // 2, "b": SAMPLES // 2})


@pytest.fixture(scope="module")
def pair(birds: Path) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    with ServerProcess(birds, *ARGUMENTS) as one, ServerProcess(birds, *ARGUMENTS) as other:
        yield one, other


def train(
    urls: Any, *, epochs: int = 2, connected: Callable[[], object] = lambda: None, **options: Any
) -> Iterator[dict[str, Any]]:
    """The batches of some epochs. `connected` is called when there is a client, which has asked for nothing yet."""
    connecting = {
        name: options.pop(name) for name in ("retry_timeout", "read_timeout", "stall_timeout") if name in options
    }
    with headrace.connect(urls, wait=20, **connecting) as client:
        connected()
        data = client.dataset(
            "birds", batch_size=BATCH, shuffle=True, seed=3, epochs=epochs, transforms=TRANSFORMS, **options
        )
        yield from data


TRANSFORMS = [headrace.RandomResizedCrop(48), headrace.RandomFlip()]


def same(ones: list[dict[str, Any]], others: list[dict[str, Any]]) -> bool:
    return len(ones) == len(others) and all(
        one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
        for one, other in zip(ones, others, strict=True)
    )


@pytest.fixture(scope="module")
def undisturbed(pair: tuple[ServerProcess, ServerProcess]) -> list[dict[str, Any]]:
    batches = list(train(pair[0].url))
    assert len(batches) == 2 * SAMPLES // BATCH
    return batches


def test_two_servers_have_the_batches_in_turns(
    pair: tuple[ServerProcess, ServerProcess], undisturbed: list[dict[str, Any]]
) -> None:
    with Proxy(pair[0].port) as one, Proxy(pair[1].port) as other:
        assert same(list(train([one.url, other.url])), undisturbed)
        assert one.accepted > 0
        assert other.accepted > 0


@pytest.mark.parametrize("tail", ["drop", "pad", "partial"])
def test_several_servers_keep_ranks_and_tails(pair: tuple[ServerProcess, ServerProcess], tail: Any) -> None:
    for rank in range(3):
        options = {"rank": rank, "world_size": 3, "tail": tail}
        alone = list(train(pair[0].url, **options))
        assert same(list(train([pair[0].url, pair[1].url], **options)), alone)


def test_a_killed_server_is_waited_for_until_it_is_back(birds: Path, undisturbed: list[dict[str, Any]]) -> None:
    with ServerProcess(birds, *ARGUMENTS) as first:
        port, seen = first.port, []
        for number, batch in enumerate(train(first.url)):
            seen.append(batch)
            if number == 7:
                first.stop(signal.SIGKILL)
                again = ServerProcess(birds, *ARGUMENTS, port=port)
    try:
        assert same(seen, undisturbed)
    finally:
        again.stop()


def test_kill_after_kill_loses_nothing(birds: Path, undisturbed: list[dict[str, Any]], record: Record) -> None:
    """Each time a server dies, its twin goes on; it comes back on its port for the next time."""
    servers = [ServerProcess(birds, *ARGUMENTS) for _ in range(2)]
    for server in servers:
        server.__enter__()
    ports = [server.port for server in servers]
    kills, seen = random.Random(1).sample(range(2, len(undisturbed)), 20 if LONG else 6), []
    try:
        for number, batch in enumerate(train([server.url for server in servers])):
            seen.append(batch)
            if number in kills:
                which = number % 2
                servers[which].stop(signal.SIGKILL)
                servers[which] = ServerProcess(birds, *ARGUMENTS, port=ports[which])
        assert same(seen, undisturbed)
        record(f"{len(kills)} kills in {len(seen)} batches over two servers: every batch came once, bit for bit")
    finally:
        for server in servers:
            server.stop()


def test_a_server_that_dies_for_good_is_done_without(birds: Path, undisturbed: list[dict[str, Any]]) -> None:
    seen = []
    with ServerProcess(birds, *ARGUMENTS) as one, ServerProcess(birds, *ARGUMENTS) as other:
        for number, batch in enumerate(train([one.url, other.url])):
            seen.append(batch)
            if number == 5:
                one.stop(signal.SIGKILL)
    assert same(seen, undisturbed)


def test_a_server_that_shuts_down_is_left_without_loss(birds: Path, undisturbed: list[dict[str, Any]]) -> None:
    seen = []
    with ServerProcess(birds, *ARGUMENTS) as one, ServerProcess(birds, *ARGUMENTS) as other:
        for number, batch in enumerate(train([one.url, other.url])):
            seen.append(batch)
            if number == 5:
                one.process.send_signal(signal.SIGTERM)
    assert same(seen, undisturbed)


@pytest.mark.parametrize(
    "harm",
    [CutAfter(100_000), CutAfter(30_000, times=3), FlipBit(60_001), FlipBit(300), StallAfter(120_000)],
    ids=["cut", "cut-thrice", "flipped-pixel", "flipped-header", "stalled"],
)
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_harmful_network_changes_nothing(
    pair: tuple[ServerProcess, ServerProcess], undisturbed: list[dict[str, Any]], harm: Harm, reset: bool
) -> None:
    with Proxy(pair[0].port, copy.copy(harm), reset=reset) as proxy:
        assert same(list(train(proxy.url, checksum=True, read_timeout=1.0)), undisturbed)


@pytest.mark.parametrize(("nbytes", "seconds"), [(200_000, 0.3), (5_000_000, 0.3), (1_000, 0.05)])
def test_a_proxy_that_holds_back_what_it_gets_changes_nothing(
    pair: tuple[ServerProcess, ServerProcess], undisturbed: list[dict[str, Any]], nbytes: int, seconds: float
) -> None:
    """Pings stay in it, too."""
    with BufferingProxy(pair[0].port, nbytes, seconds) as proxy:
        assert same(list(train(proxy.url, read_timeout=1.0)), undisturbed)


def test_a_server_that_stays_away_ends_the_run_in_time_and_says_what_was_tried(birds: Path) -> None:
    with ServerProcess(birds, *ARGUMENTS) as server:
        running = train(server.url, retry_timeout=1.5, prefetch=1)
        next(running)
        url = server.url
        server.stop(signal.SIGKILL)
        began = time.monotonic()
        with pytest.raises(headrace.ServiceError, match=rf"retry_timeout is 1\.5.*{url}"):
            list(running)
        assert time.monotonic() - began < 10


def test_what_is_waited_for_can_be_seen(birds: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING, "headrace"),
        ServerProcess(birds, *ARGUMENTS) as server,
        headrace.connect(server.url) as client,
    ):
        data = client.dataset("birds", batch_size=BATCH, prefetch=1, epochs=1000)
        running = iter(data)
        next(running)
        assert data.stats().troubles == ""
        server.stop(signal.SIGKILL)

        def take() -> None:
            with contextlib.suppress(headrace.ServiceError):  # the client is closed in the end
                list(running)

        taking = threading.Thread(target=take)
        taking.start()
        wait_for(lambda: server.url in data.stats().troubles, "the trouble to show")
        wait_for(lambda: "waiting up to" in caplog.text, "the wait to be logged")
        assert data.stats().reconnects >= 1
        assert server.url in str(data.stats())
    taking.join(10)
    assert not taking.is_alive()


def test_a_server_with_other_data_is_refused_by_name(tmp_path: Path, pair: tuple[ServerProcess, ServerProcess]) -> None:
    other = write_dataset(tmp_path / "birds", {"a": 10, "b": 10})
    with (
        ServerProcess(other, *ARGUMENTS) as stranger,
        headrace.connect([pair[0].url, stranger.url]) as client,
        pytest.raises(headrace.DataChanged, match=stranger.url),
    ):
        client.dataset("birds", batch_size=BATCH)


def localhost_is(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> None:
    """The name stands for these addresses, whatever the list holds when it is looked up."""
    known = socket.getaddrinfo

    def resolve(host: Any, port: Any, *more: Any, **options: Any) -> Any:
        if host != "localhost":
            return known(host, port, *more, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def test_servers_that_come_back_at_other_addresses_are_found(
    birds: Path, undisturbed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = ["127.0.0.1", "127.0.0.2"]
    localhost_is(monkeypatch, addresses)
    with contextlib.ExitStack() as stack:
        old = [stack.enter_context(ServerProcess(birds, *ARGUMENTS))]
        port = old[0].port
        old.append(stack.enter_context(ServerProcess(birds, *ARGUMENTS, "--host", "127.0.0.2", port=port)))
        seen = []
        for number, batch in enumerate(train(f"http://localhost:{port}")):
            seen.append(batch)
            if number == 9:
                addresses[:] = ["127.0.0.3", "127.0.0.4"]
                for server in old:
                    server.stop(signal.SIGKILL)
                for address in addresses:
                    stack.enter_context(ServerProcess(birds, *ARGUMENTS, "--host", address, port=port))
        assert same(seen, undisturbed)


def test_a_name_with_several_addresses_stands_for_several_servers(
    birds: Path, undisturbed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    localhost_is(monkeypatch, ["127.0.0.1", "127.0.0.2"])
    with (
        ServerProcess(birds, *ARGUMENTS) as one,
        ServerProcess(birds, *ARGUMENTS, "--host", "127.0.0.2", port=one.port) as other,
        headrace.connect(f"http://localhost:{one.port}") as client,
    ):
        assert "127.0.0.1" in repr(client)
        assert "127.0.0.2" in repr(client)
        data = client.dataset("birds", batch_size=BATCH, shuffle=True, seed=3, epochs=2, transforms=TRANSFORMS)
        assert same(list(data), undisturbed)
        for server in (one, other):
            with Api(server) as api:
                assert api.metric("headrace_batches_total") == len(undisturbed) / 2


def test_leaving_early_in_trouble_leaves_no_thread(birds: Path) -> None:
    before = set(threading.enumerate())
    with ServerProcess(birds, *ARGUMENTS) as server, headrace.connect(server.url) as client:
        for _ in client.dataset("birds", batch_size=BATCH):
            server.stop(signal.SIGKILL)
            break
    wait_for(
        lambda: not [one for one in {*threading.enumerate()} - before if one.name.startswith("headrace")],
        "all threads to end",
    )


def test_faults_at_random_times_change_nothing(
    pair: tuple[ServerProcess, ServerProcess], undisturbed: list[dict[str, Any]], record: Record
) -> None:
    """Cuts, flips and stalls in both networks and both directions, in most connections, anywhere in them."""
    runs, dice, faults = (60, random.Random(4), 0) if LONG else (4, random.Random(4), 0)
    for _ in range(runs):
        with contextlib.ExitStack() as stack:
            proxies = [stack.enter_context(RandomProxy(server.port, dice.randrange(2**32))) for server in pair]

            def arm(proxies: list[RandomProxy] = proxies) -> None:
                for proxy in proxies:
                    proxy.armed = True

            options = {"checksum": True, "read_timeout": 0.7, "retry_timeout": 60, "connected": arm}
            assert same(list(train([proxy.url for proxy in proxies], **options)), undisturbed)
            faults += sum(proxy.faults for proxy in proxies)
    assert faults
    harmed = f"{faults} connections cut, with a bit flipped, or stalled, in either direction"
    record(f"{harmed}, in {runs} runs of {len(undisturbed)} batches: all bit for bit")


class RandomProxy(Proxy):
    """Once armed, harms most connections at some byte, from then on."""

    def __init__(self, port: int, seed: int) -> None:
        self._dice, self.faults, self.armed = random.Random(seed), 0, False
        super().__init__(port, self._harm_of(400_000), asked=self._harm_of(2_000))

    def _harm_of(self, most: int) -> Harm:
        """Chosen anew where a connection begins, or where the proxy is armed in its middle."""
        begun, harm = -1, nothing

        def harmed(done: int, data: bytes) -> bytes | None:
            nonlocal begun, harm
            if self.armed and (begun < 0 or not done):
                begun, harm = done, self._chosen(most)
            return harm(done - begun, data)

        return harmed

    def _chosen(self, most: int) -> Harm:
        if self._dice.random() < 0.4:
            return nothing
        self.faults += 1
        at = self._dice.randrange(self._dice.choice([300, 3_000, most]))  # an answer's beginning is small, and counts
        return self._dice.choice([CutAfter(at), FlipBit(at), FlipBit(at), StallAfter(at)])
