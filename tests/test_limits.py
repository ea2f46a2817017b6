"""Trainers that take nothing, too many of them, and those that go: others do not notice, and all is given back."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from harness import LONG, Api, Record, ServerProcess, stream_path, unread, wait_for, write_dataset, write_image

import headrace

SMALL = '[{"name": "Resize", "size": [32, 32], "interpolation": "bicubic"}, {"name": "RandomFlip"}]'
TRANSFORMS = '[{"name": "Resize", "size": [224, 224]}]'


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("limits") / "birds", {"a": 100})


def test_a_client_that_takes_nothing_is_disconnected_in_time(birds: Path) -> None:
    words = ("--transforms", TRANSFORMS, "--stall-timeout", "1")
    with (
        ServerProcess(birds, *words) as server,
        Api(server) as api,
        contextlib.closing(unread(server, stream_path(api.plan("birds"), count=50))),
    ):
        wait_for(lambda: api.metric("headrace_streams") == 1, "the stream to be open")
        wait_for(lambda: api.metric("headrace_streams") == 0, "the stream to be closed")
        wait_for(lambda: api.metric("headrace_memory_used_bytes") == 0, "its memory to be given back")


def test_a_trainer_that_slept_too_long_resumes(birds: Path) -> None:
    with ServerProcess(birds, "--transforms", TRANSFORMS, "--stall-timeout", "0.5") as server, Api(server) as api:
        with headrace.connect(server.url) as client:
            data = client.dataset("birds", batch_size=10, prefetch=1, shuffle=True, epochs=8)
            expected = [list(batch["key"]) for batch in data]
            data.set_epoch(0)
            running = iter(data)
            seen = [list(next(running)["key"])]
            wait_for(lambda: api.metric("headrace_streams") == 0, "the sleeper to be disconnected")
            seen += [list(batch["key"]) for batch in running]
        assert seen == expected
        assert data.stats().reconnects >= 1


def test_a_stream_too_many_is_told_to_come_again_and_its_client_waits(birds: Path) -> None:
    words = ("--transforms", TRANSFORMS, "--max-streams", "1")
    with ServerProcess(birds, *words) as server, Api(server) as api, headrace.connect(server.url) as client:
        with contextlib.closing(unread(server, stream_path(api.plan("birds"), count=50))):
            wait_for(lambda: api.metric("headrace_streams") == 1, "the stream to be open")
            answer = api.get(stream_path(api.plan("birds"), count=1))
            assert answer.status_code == 503
            assert answer.json()["code"] == "full"
            assert int(answer.headers["retry-after"]) >= 1
            got: list[int] = []
            waiting = threading.Thread(
                target=lambda: got.extend(len(batch["key"]) for batch in client.dataset("birds", batch_size=100))
            )
            waiting.start()
            wait_for(
                lambda: "max_streams" in client.dataset("birds", batch_size=1).stats().troubles, "it to be refused"
            )
            assert not got
        waiting.join(30)
        assert got == [100]


def test_stalled_streams_stay_within_the_memory_given(birds: Path) -> None:
    words = ("--transforms", TRANSFORMS, "--memory-mb", "64")
    with ServerProcess(birds, *words) as server, Api(server) as api, contextlib.ExitStack() as stack:
        for seed in range(64):
            stack.enter_context(
                contextlib.closing(unread(server, stream_path(api.plan("birds", shuffle=True, seed=seed), count=50)))
            )
        wait_for(lambda: api.metric("headrace_streams") == 64, "all streams to be open")
        assert api.metric("headrace_memory_used_bytes") <= 64 * 2**20
        with headrace.connect(server.url) as client:  # one that takes still gets everything
            assert sum(len(batch["key"]) for batch in client.dataset("birds", batch_size=10)) == 100
        stack.close()
        wait_for(lambda: api.metric("headrace_streams") == 0, "closed connections to be noticed", 5)


def test_what_nobody_takes_is_not_made_far_ahead(birds: Path) -> None:
    """The window grows with what the client takes: whoever opens a stream and goes away costs two batches."""
    words = ("--transforms", TRANSFORMS.replace("224", "640"))  # batches that no socket's buffer holds
    with ServerProcess(birds, *words) as server, Api(server) as api:
        path = stream_path(api.plan("birds"), count=10)
        size = len(api.get(path).content) // 10
        wait_for(lambda: api.metric("headrace_memory_used_bytes") == 0, "the first stream to be gone")
        made = api.metric("headrace_samples_made_total")

        def ahead() -> int:
            return int(api.metric("headrace_samples_made_total") - made) // 10

        path = stream_path(api.plan("birds", shuffle=True), count=10)
        with contextlib.closing(unread(server, path, buffer=2**20)) as connection:
            wait_for(lambda: ahead() == 2, "two batches")
            time.sleep(0.5)  # in which the other eight would have been made
            assert ahead() == 2
            received = 0
            while received < 3 * size:
                received += len(connection.recv(2**20))
            wait_for(lambda: ahead() >= 7, "those that were taken to make room for others")


def test_many_streams_at_once_all_get_their_share(tmp_path: Path, record: Record) -> None:
    """Each of another client, in another order, so that nothing is shared; decoding is what takes the time."""
    for number in range(20):
        write_image(tmp_path / "scans" / f"{number}.jpg", number, (900, 1200))
    count, seconds = (200, 20.0) if LONG else (40, 4.0)
    with (
        ServerProcess(tmp_path / "scans", "--transforms", SMALL) as server,
        Api(server) as api,
        contextlib.ExitStack() as stack,
    ):
        taken = [0] * count
        begin, end = threading.Barrier(count + 1), threading.Event()

        def take(number: int, plan: dict[str, Any]) -> None:
            begin.wait()
            epoch = 0
            while not end.is_set():
                path = stream_path(plan, epoch=epoch, count=1)
                with socket.create_connection(("127.0.0.1", server.port)) as connection:
                    stack.callback(connection.close)
                    head = (
                        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nHeadrace-Client: {number}\r\nConnection: close\r\n"
                    )
                    connection.sendall(f"{head}\r\n".encode())
                    while not end.is_set() and (data := connection.recv(65536)):
                        taken[number] += len(data)
                epoch += 1

        plans = [api.plan("scans", shuffle=True, seed=seed) for seed in range(count)]
        threads = [threading.Thread(target=take, args=(i, plan), daemon=True) for i, plan in enumerate(plans)]
        for thread in threads:
            thread.start()
        begin.wait()
        wait_for(lambda: all(taken), "every stream to have something")
        before = list(taken)
        end.wait(seconds)
        end.set()
        for thread in threads:
            thread.join(10)
    got = [after - first for after, first in zip(taken, before, strict=True)]
    least = min(got) / (sum(got) / count)
    record(f"{count} streams at once for {seconds:.0f} s: the least got {least:.2f} of the mean")
    assert least > 0.5
