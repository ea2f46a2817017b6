"""Ten million samples in the index, made up: memory, the start from a saved index, and the first batch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.made_up import save
from benchmarks.processes import Failed, Server, Worker, headrace_server
from benchmarks.procfs import resident_bytes
from benchmarks.stage import Stage
from benchmarks.work import RESIZE, Work

TITLE = "wide: ten million samples"
SAMPLES = 10_000_000
_PATIENCE = 60.0


def run(stage: Stage, work: Work) -> dict[str, Any]:
    count = int(SAMPLES * stage.scale)
    root, indexes = stage.data / f"wide-{count}", stage.data / f"wide-{count}-index"
    stage.say(f"wide: an index of {count:,} samples")
    nbytes = save(root, indexes, count).nbytes
    large = headrace_server(f"wide={root}", "--index-dir", indexes)
    runs, error = [], None
    for _ in range(stage.rounds):
        try:
            runs.append(_round(large, work.jpegs(), count))
        except Failed as failure:
            error = str(failure)
            break
        stage.say(f"wide: up after {runs[-1]['start_s']:.2f} s, first batch after {runs[-1]['first_batch_ms']:.0f} ms")
    failed = {} if error is None else {"error": error}
    return {"samples": count, "index_bytes_per_sample": nbytes / count, "rounds": runs, **failed}


def _round(large: list[str], pictures: Path, count: int) -> dict[str, float]:
    """One server from its start to its first batch; the client's first batch is from `connect` on."""
    # The same server with a small folder, for what it takes anyway.
    with Server(headrace_server(f"wide={pictures}")) as plain:
        _first_batch(plain)
        idle = resident_bytes(plain.pid, files=True)
    began = time.monotonic()
    picture = next(pictures.rglob("*.jpg"))
    with Server(["benchmarks.wide_server", str(picture), *large[2:]]) as server:
        start = time.monotonic() - began
        first = _first_batch(server)
        resident = resident_bytes(server.pid, files=True) - idle
    return {"start_s": start, "first_batch_ms": first, "resident_bytes_per_sample": resident / count}


def _first_batch(server: Server) -> float:
    arguments = {"address": server.address, "dataset": "wide", "transforms": RESIZE}
    with Worker("benchmarks.contenders.headrace_client:arrays", arguments) as worker:
        worker.wait_until_up(_PATIENCE)
        return worker.first_batch(_PATIENCE)
