"""The server's memory with 32 streams open whose trainers stand still, beside what its options add up to.

They have taken some batches before, so that the server works ahead for them as far as it may.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks.processes import Failed, Server, headrace_server
from benchmarks.procfs import resident_bytes
from benchmarks.stage import Stage
from benchmarks.work import BATCH, BATCH_BYTES, RESIZE, Work, mean_bytes

TITLE = "memory: 32 stalled streams"
STREAMS = 32
MEMORY_MB, SHARE_MB, CACHE_MB = 512, 64, 128
_TAKEN = 8
"""Batches; ten more for each of the streams would fill the memory three times over."""
_SETTLED_SECONDS = 3.0
_MOST_SECONDS = 40.0
_MIB = 2**20


def run(stage: Stage, work: Work) -> dict[str, Any]:
    folder = work.jpegs()
    options = ("--memory-mb", MEMORY_MB, "--share-mb", SHARE_MB, "--cache-mb", CACHE_MB)
    stage.say(f"memory: {STREAMS} streams whose trainers stop after {_TAKEN} batches")
    try:
        with Server(headrace_server(f"jpeg={folder}", *map(str, options))) as server:
            idle, stalled = _measure(server)
    except (Failed, httpx.HTTPError, OSError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    reserved = STREAMS * (BATCH_BYTES + BATCH * mean_bytes(folder)) // _MIB
    bound = MEMORY_MB + SHARE_MB + CACHE_MB + reserved
    stage.say(f"memory: {(stalled - idle) // _MIB} MiB above {idle // _MIB} MiB idle; the options add up to {bound}")
    return {
        "streams": STREAMS,
        "idle_mb": idle / _MIB,
        "above_idle_mb": (stalled - idle) / _MIB,
        "bound_mb": bound,
        "parts_mb": {"memory_mb": MEMORY_MB, "share_mb": SHARE_MB, "cache_mb": CACHE_MB, "reserved": reserved},
    }


def _measure(server: Server) -> tuple[int, int]:
    """Bytes in RAM when idle, with every module loaded by one small batch, and with every stream stalled."""
    with httpx.Client(base_url=server.address, trust_env=False, timeout=30) as http, contextlib.ExitStack() as stack:
        plan = _plan(http, seed=STREAMS)
        http.get(f"/v1/plans/{plan['id']}/epochs/0/slices/0-1").raise_for_status()
        idle = resident_bytes(server.pid)
        streams = [stack.enter_context(_open_stream(server.address, _plan(http, seed))) for seed in range(STREAMS)]
        for stream in streams:
            _take(stream, _TAKEN * BATCH_BYTES)
        return idle, _settled(server.pid)


def _plan(http: httpx.Client, seed: int) -> dict[str, Any]:
    asked = {"dataset": "jpeg", "transforms": RESIZE, "shuffle": True, "seed": seed}
    return dict(http.post("/v1/plans", json=asked).raise_for_status().json())


def _open_stream(address: str, plan: dict[str, Any]) -> socket.socket:
    """A connection over which a whole epoch was asked for."""
    place = urlsplit(address)
    assert place.hostname is not None
    connection = socket.create_connection((place.hostname, place.port or 80))
    path = f"/v1/plans/{plan['id']}/stream?epoch=0&start=0&count={BATCH}&stride={BATCH}"
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {place.netloc}\r\n\r\n".encode())
    return connection


def _take(connection: socket.socket, nbytes: int) -> None:
    """Receives at least so many bytes. Raises Failed where they do not come."""
    connection.settimeout(_MOST_SECONDS)
    while nbytes > 0:
        received = len(connection.recv(_MIB))
        if not received:
            raise Failed("the server ended a stream that was to stand still")
        nbytes -= received


def _settled(pid: int) -> int:
    """The most memory, once it has not grown by 1 % for a while."""
    most = resident_bytes(pid)
    start = since = time.monotonic()
    while time.monotonic() < min(since + _SETTLED_SECONDS, start + _MOST_SECONDS):
        time.sleep(0.1)
        now = resident_bytes(pid)
        if now > 1.01 * most:
            since = time.monotonic()
        most = max(most, now)
    return most
