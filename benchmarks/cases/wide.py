"""Ten million samples in the index, made up: memory, the start from a saved index, and the first batch."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.processes import Failed, Server, Worker, headrace_server
from benchmarks.procfs import resident_bytes
from benchmarks.stage import Stage
from benchmarks.wide_server import load, save
from benchmarks.work import RESIZE, Work

TITLE = "wide: ten million samples"
SAMPLES = 10_000_000
_PATIENCE = 60.0


def run(stage: Stage, work: Work) -> dict[str, Any]:
    count = int(SAMPLES * stage.scale)
    folder = stage.data / f"wide-{count}"
    stage.say(f"wide: an index of {count:,} samples")
    save(folder, count)
    index, _ = load(folder)
    runs, error = [], None
    for _ in range(stage.rounds):
        try:
            runs.append(_round(folder, work.jpegs(), count))
        except Failed as failure:
            error = str(failure)
            break
        stage.say(f"wide: up after {runs[-1]['start_s']:.2f} s, first batch after {runs[-1]['first_batch_ms']:.0f} ms")
    failed = {} if error is None else {"error": error}
    return {"samples": count, "index_bytes_per_sample": index.nbytes / count, "rounds": runs, **failed}


def _round(folder: Path, pictures: Path, count: int) -> dict[str, float]:
    """One server from its start to its first batch; the client's first batch is from `connect` on."""
    words = headrace_server(f"wide={pictures}")
    # The same server without the large index, for what it takes anyway.
    with Server(words) as plain:
        _first_batch(plain)
        idle = resident_bytes(plain.pid, files=True)
    began = time.monotonic()
    with Server(["benchmarks.wide_server", str(folder), *words[2:]]) as server:
        start = time.monotonic() - began
        first = _first_batch(server)
        resident = resident_bytes(server.pid, files=True) - idle
    return {"start_s": start, "first_batch_ms": first, "resident_bytes_per_sample": resident / count}


def _first_batch(server: Server) -> float:
    arguments = {"address": server.address, "dataset": "wide", "transforms": RESIZE}
    with Worker("benchmarks.contenders.headrace_client:arrays", arguments) as worker:
        worker.wait_until_up(_PATIENCE)
        return worker.first_batch(_PATIENCE)
