"""Leaving early: whatever an iterator opened is closed again on both sides, however often it is left."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import LONG, Api, Record, ServerProcess, stream_path, unread, wait_for, write_dataset, write_image

import headrace

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
TRANSFORMS = '[{"name": "Resize", "size": [64, 64]}]'
LARGE = '[{"name": "Resize", "size": [224, 224]}]'
TIMES = 300 if LONG else 25


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("leaving") / "birds", {"a": 64})


@pytest.fixture(scope="module")
def server(birds: Path) -> Iterator[ServerProcess]:
    with ServerProcess(birds, "--transforms", TRANSFORMS) as running:
        yield running


def plainly(data: headrace.Dataset) -> None:
    for _ in data:
        break


def by_tensorflow(data: headrace.Dataset) -> None:
    pytest.importorskip("tensorflow")
    for _ in data.to_tf():
        break


def by_torch(data: headrace.Dataset) -> None:
    pytest.importorskip("torch")
    for _ in data.to_torch():
        break


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def ours() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("headrace")}


@pytest.mark.parametrize("leave", [plainly, by_tensorflow, by_torch])
def test_nothing_is_left_on_either_side(
    server: ServerProcess, leave: Callable[[headrace.Dataset], None], record: Record
) -> None:
    def leave_often(times: int) -> None:
        with headrace.connect(server.url) as client:
            for seed in range(times):
                leave(client.dataset("birds", batch_size=4, shuffle=True, seed=seed, epochs=100))

    leave_often(3)  # what is made once and kept
    with Api(server) as api:
        wait_for(lambda: api.metric("headrace_streams") == 0, "the streams to be closed")
        threads = ours()  # of pipelines that others have made in this process, and not collected yet
        before = descriptors(os.getpid()), descriptors(server.process.pid)
        leave_often(TIMES)
        wait_for(lambda: api.metric("headrace_streams") == 0, "the streams to be closed")
        wait_for(lambda: api.metric("headrace_memory_used_bytes") == 0, "their memory to be given back")
        wait_for(lambda: ours() <= threads, "the threads to end")
        wait_for(lambda: descriptors(os.getpid()) <= before[0], "this side's sockets to be closed")
        wait_for(lambda: descriptors(server.process.pid) <= before[1], "the server's sockets to be closed")
    record(f"{leave.__name__}: left {TIMES} streams early: no thread, socket or buffer was left on either side")


@pytest.mark.skipif(not LONG, reason="measures; nothing is promised of a machine that does other things meanwhile")
def test_stalled_streams_cost_the_others_nothing(tmp_path: Path, record: Record) -> None:
    """One trainer's batches per second, in turns with and without 16 streams that nobody reads."""
    for number in range(100):
        write_image(tmp_path / "scans" / f"{number}.jpg", number, (375, 500))
    with (
        ServerProcess(tmp_path / "scans", "--transforms", LARGE, "--memory-mb", "256") as server,
        Api(server) as api,
        headrace.connect(server.url) as client,
    ):
        batches = client.dataset("scans", batch_size=10, shuffle=True).batches(forever=True)

        def rate(seconds: float) -> float:
            for _ in range(50):  # what was made ahead
                next(batches)
            count, began = 0, time.perf_counter()
            while time.perf_counter() < began + seconds:
                next(batches)
                count += 1
            return count / (time.perf_counter() - began)

        ratios = []
        for turn in range(6):
            alone = rate(2.0)
            plans = [api.plan("scans", shuffle=True, seed=100 * turn + k) for k in range(16)]
            stalled = [unread(server, stream_path(plan, count=50), client=str(k)) for k, plan in enumerate(plans)]
            wait_for(lambda: api.metric("headrace_streams") >= 17, "the streams to be open")
            rate(1.0)  # until their first two batches are made
            ratios.append(rate(2.0) / alone)
            for connection in stalled:
                connection.close()
            wait_for(lambda: api.metric("headrace_streams") <= 2, "the streams to be closed")
        batches.close()
    low, median, high = min(ratios), statistics.median(ratios), max(ratios)
    record(f"beside 16 stalled streams a trainer gets {median:.2f} ({low:.2f}-{high:.2f}) of what it gets without them")
    assert median > 0.9
