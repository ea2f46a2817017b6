"""SIGTERM and Ctrl-C: streams are told, the process ends by itself, and nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from harness import (
    DEADLINE,
    LONG,
    Api,
    Record,
    ServerProcess,
    frames_of,
    importable,
    slice_path,
    stream_path,
    unread,
    wait_for,
    write_dataset,
)

import headrace
from headrace_server.errors import SampleVanished
from headrace_server.reading import Reader
from headrace_server.sources.folder import open_folder

GATE = '''
import pathlib, time
from headrace_server import transform

@transform(version=1)
def gate(image, labels, rng, *, path):
    """Holds every image until there is a file."""
    pathlib.Path(path + ".waiting").touch()
    while not pathlib.Path(path).exists():
        time.sleep(0.002)
    return image
'''
SOON = 10.0
"""Seconds: far less than a grace time of 60, and enough for a machine that is busy with other things."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shutdown")
    (root / "gates.py").write_text(GATE)
    return write_dataset(root / "digits", {"a": 20, "b": 20})


def start(folder: Path, *options: str, port: int = 0) -> ServerProcess:
    return ServerProcess(
        folder,
        *("--custom-transforms", '{"Gate": "gates:gate"}', "--ping-seconds", "0.05", *options),
        port=port,
        env=importable(folder.parent),
    )


def gated(gate: Path) -> dict[str, Any]:
    return {"transforms": [{"name": "Resize", "size": [4, 4]}, {"name": "Gate", "path": str(gate)}]}


def ends_quietly(server: ServerProcess, how: signal.Signals = signal.SIGTERM, *, streams: int = 0) -> None:
    """Ends the server, and checks its exit status, the time it took, and its log."""
    began = time.monotonic()
    status = server.stop(how)
    assert time.monotonic() - began < SOON
    assert status == 0, server.errors
    is_quiet(server, streams)


def is_quiet(server: ServerProcess, streams: int) -> None:
    events = [json.loads(line) for line in server.errors]
    assert [(event["event"], event["level"], event.get("streams")) for event in events] == [
        ("shutting down", "info", streams)
    ]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_running_stream_finishes_the_batch_in_hand_and_says_where_to_go_on(
    how: signal.Signals, folder: Path, tmp_path: Path
) -> None:
    """Meanwhile new streams are refused; afterwards the port is free for the next server, which goes on from there."""
    gate = tmp_path / "gate"
    with start(folder, "--grace-seconds", "60") as server, Api(server) as api, Api(server) as other:
        plan = api.plan("digits", **gated(gate))
        received = b""
        with api.stream("GET", stream_path(plan, start=3, count=5, stride=7)) as answer:
            for chunk in answer.iter_raw():
                if not received:
                    server.process.send_signal(how)
                    wait_for(lambda: other.get("/readyz").status_code == 503, "the server to drain")
                    for path in (stream_path(plan, count=1), slice_path(plan, 0, 1)):
                        refused = other.get(path)
                        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                        assert refused.json()["title"] == "draining"
                    assert other.get("/healthz").status_code == 200
                    gate.touch()
                received += chunk
        frames = [header for header, _ in frames_of(received) if header["kind"] != "ping"]
        assert [header["kind"] for header in frames] == ["batch", "end"]
        assert (frames[0]["start"], frames[0]["count"]) == (3, 5)
        assert (frames[1]["next"], frames[1]["reason"], frames[1]["epoch"]) == (10, "draining", 0)
        began, port = time.monotonic(), server.port
        assert server.process.wait(DEADLINE) == 0
        assert time.monotonic() - began < SOON
    is_quiet(server, streams=1)
    with start(folder, port=port) as second, Api(second) as api:
        assert api.plan("digits", **gated(gate)) == plan
        rest = api.frames(plan, start=10, count=5, stride=7)
        assert [header["start"] for header, _ in rest if header["kind"] == "batch"] == [10, 17, 24, 31, 38]


def test_a_server_that_nobody_uses_ends_at_once_with_connections_idle(folder: Path) -> None:
    with start(folder, "--grace-seconds", "60") as server, Api(server) as api:
        api.frames(api.plan("digits", transforms=[{"name": "Resize", "size": [4, 4]}]), count=8)
        ends_quietly(server)


def test_a_signal_right_after_the_server_was_announced_ends_it_in_good_order(folder: Path) -> None:
    with start(folder) as server:
        assert server.stop(signal.SIGINT) == 0, server.errors


def test_a_client_that_reads_nothing_holds_the_end_up_no_longer_than_the_grace(folder: Path) -> None:
    with start(folder, "--grace-seconds", "0.5") as server, Api(server) as api:
        large = api.plan("digits", transforms=[{"name": "Resize", "size": [1024, 1024]}])
        with contextlib.closing(unread(server, stream_path(large, count=8))):
            wait_for(lambda: api.metric("headrace_streams") == 1, "the stalled stream")
            ends_quietly(server, streams=1)


def test_a_second_ctrl_c_ends_the_grace(folder: Path) -> None:
    with start(folder, "--grace-seconds", "60") as server, Api(server) as api:
        large = api.plan("digits", transforms=[{"name": "Resize", "size": [1024, 1024]}])
        with contextlib.closing(unread(server, stream_path(large, count=8))):
            wait_for(lambda: api.metric("headrace_streams") == 1, "the stalled stream")
            server.process.send_signal(signal.SIGINT)
            wait_for(lambda: api.get("/readyz").status_code == 503, "the server to drain")
            ends_quietly(server, signal.SIGINT, streams=1)


def test_a_transform_that_hangs_holds_the_end_up_no_longer_than_the_grace(folder: Path, tmp_path: Path) -> None:
    with start(folder, "--grace-seconds", "0.2") as server, Api(server) as api:
        plan = api.plan("digits", **gated(tmp_path / "never"))
        with contextlib.closing(unread(server, stream_path(plan, count=8))):
            wait_for((tmp_path / "never.waiting").exists, "the transform to hang")
            ends_quietly(server, streams=1)


def test_a_read_that_is_tried_again_and_again_does_not_hold_the_end_up(tmp_path: Path, folder: Path) -> None:
    data = write_dataset(tmp_path / "digits", {"a": 3})
    options = ("--grace-seconds", "0.2", "--read-retries", "100")
    with ServerProcess(data, "--ping-seconds", "0.05", *options) as server, Api(server) as api:
        plan = api.plan("digits", transforms=[{"name": "Resize", "size": [4, 4]}])
        (data / "a/00001.png").unlink()
        with api.stream("GET", stream_path(plan, count=3)) as answer:
            chunks = answer.iter_raw()
            next(chunks)  # a ping: the read fails already, or is about to
            ends_quietly(server, streams=1)


def test_a_failed_read_is_not_tried_again_once_its_reader_is_closed(tmp_path: Path) -> None:
    source, begun, failed = open_folder(write_dataset(tmp_path / "d", {"a": 1})), threading.Event(), threading.Event()
    (tmp_path / "d/a/00000.png").unlink()
    reader = Reader(4, retries=1000)

    def read() -> None:
        begun.set()
        try:
            reader.read(source, "all", 0)
        except SampleVanished:
            failed.set()

    reader.submit("client", read)
    assert begun.wait(DEADLINE)
    reader.close(5)
    assert failed.is_set()


def test_restarting_one_of_two_servers_after_the_other_under_load_loses_nothing(folder: Path, record: Record) -> None:
    """Three trainers read all the while; each server is stopped and started anew on its port, in turns."""
    epochs, restarts, trainers = (200, 20, 3) if LONG else (30, 4, 3)
    seen: list[list[str]] = [[] for _ in range(trainers)]
    permits = [threading.Semaphore(0) for _ in range(trainers)]
    expected: list[list[str]] = []

    def train(rank: int, urls: list[str]) -> None:
        with headrace.connect(urls) as client:
            for batch in asked_for(client, rank):
                permits[rank].acquire()
                seen[rank] += batch["key"].tolist()

    def asked_for(client: headrace.Client, rank: int) -> headrace.Dataset:
        return client.dataset(
            "digits", batch_size=2, shuffle=True, seed=1, epochs=epochs, rank=rank, world_size=trainers, prefetch=1
        )

    servers = [start(folder), start(folder)]
    for server in servers:
        server.__enter__()
    try:
        with headrace.connect(servers[0].url) as client:
            expected = [[key for batch in asked_for(client, rank) for key in batch["key"]] for rank in range(trainers)]
        urls = [server.url for server in servers]
        threads = [threading.Thread(target=train, args=(rank, urls), daemon=True) for rank in range(trainers)]
        for thread in threads:
            thread.start()
        stage = len(expected[0]) // 2 // (restarts + 1)
        for turn in range(restarts):
            for permit in permits:
                permit.release(stage)
            which, port = turn % 2, servers[turn % 2].port
            assert servers[which].stop() == 0
            servers[which] = start(folder, port=port)
            servers[which].__enter__()
        for permit in permits:
            permit.release(len(expected[0]))
        for thread in threads:
            thread.join(4 * DEADLINE)
        assert seen == expected
    finally:
        for server in servers:
            server.stop()
    samples = sum(map(len, seen))
    record(f"{restarts} restarts of two servers in turns, under {trainers} trainers: {samples} samples, each came once")
