"""Requests that never end, in time or in length, hold nothing of the server for long."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import DEADLINE, Api, ServerProcess, slice_path, wait_for

HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.fixture(scope="module")
def impatient(flowers: Path) -> Iterator[ServerProcess]:
    with ServerProcess(flowers, "--transforms", '[{"name": "Resize", "size": [8, 8]}]', "--stall-timeout", "1") as one:
        yield one


@contextlib.contextmanager
def connected(server: ServerProcess) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as connection:
        yield connection


def resident(server: ServerProcess) -> int:
    """Bytes."""
    pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET", HEAD, b"POST /v1/plans HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{"],
    ids=["nothing", "a word", "headers", "a body"],
)
def test_a_request_that_does_not_come_whole_is_dropped_in_time(impatient: ServerProcess, begun: bytes) -> None:
    with connected(impatient) as connection:
        connection.sendall(begun)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""


def test_one_that_trickles_in_is_dropped_as_well(impatient: ServerProcess) -> None:
    with connected(impatient) as connection:
        connection.sendall(HEAD + b"X: ")

        def refused() -> bool:
            time.sleep(0.05)
            try:
                connection.sendall(b"x")
            except ConnectionError:
                return True
            return False

        wait_for(refused, "the connection to be closed")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="measures memory in /proc")
def test_headers_without_end_are_refused_before_they_take_memory(impatient: ServerProcess) -> None:
    before = resident(impatient)
    with connected(impatient) as connection:
        connection.sendall(HEAD)
        with contextlib.suppress(ConnectionError):
            for number in range(100_000):
                connection.sendall(b"X-%d: %s\r\n" % (number, b"x" * 1000))
            pytest.fail("100 MB of headers were taken")
    assert resident(impatient) - before < 20 * 2**20


def test_a_large_plan_is_no_large_head(impatient: ServerProcess) -> None:
    with Api(impatient) as api:
        answer = api.post("/v1/plans", content=b'{"dataset": "%s"}' % (b"x" * 900_000))
        assert answer.status_code == 404


def test_connections_that_are_kept_and_streams_are_not_dropped(impatient: ServerProcess) -> None:
    with Api(impatient) as api:
        plan = api.plan("flowers", split="train")
        began = time.monotonic()
        wait_for(
            lambda: api.get(slice_path(plan, 0, 8)).status_code == 200 and time.monotonic() - began > 2.5, "a while"
        )
