"""A contender's process: makes its batches when told to, and says what they took.

It is started with a JSON object: `batches` ("module:function", a generator of (images, bytes)), `arguments`, `watch`
(its server's process) and `fresh` (whether each turn begins anew). When all is imported it says so. It answers each
line on its standard input with one line: the first, which is empty, with the time to the first batch, unless it is
`fresh`; any other, a JSON object with `warm` and `seconds`, with what a turn took.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Generator
from typing import Any

from benchmarks.procfs import children_cpu_seconds, cpu_seconds

MARK = "@benchmark "
"""What this process says begins so; frameworks print, too."""

Batches = Generator[tuple[int, int], None, None]


def measure(batches: Batches, warm: float, seconds: float, watch: int | None) -> dict[str, float]:
    """Takes batches for `seconds` and at least one, after `warm` seconds that do not count."""
    start = time.perf_counter()
    while time.perf_counter() < start + warm:
        next(batches)
    images = nbytes = 0
    server = cpu_seconds(watch) if watch else 0.0
    cpu, clock = _own_cpu(), time.perf_counter()
    while True:
        count, size = next(batches)
        images, nbytes = images + count, nbytes + size
        now = time.perf_counter()
        if now >= clock + seconds:
            break
    turn = {"images": images, "bytes": nbytes, "seconds": now - clock, "cpu_seconds": _own_cpu() - cpu}
    if watch:
        turn["server_cpu_seconds"] = cpu_seconds(watch) - server
    return turn


def _own_cpu() -> float:
    return time.process_time() + children_cpu_seconds(os.getpid())


def _say(message: dict[str, Any]) -> None:
    print(MARK + json.dumps(message), flush=True)


def _turns(make: Callable[..., Batches], spec: dict[str, Any]) -> None:
    batches = None
    _say({"up": True})
    if not spec["fresh"]:
        sys.stdin.readline()
        asked = time.perf_counter()
        batches = make(**spec["arguments"])
        next(batches)
        _say({"first_batch_ms": (time.perf_counter() - asked) * 1e3})
    for line in sys.stdin:
        turn = json.loads(line)
        clock = turn["warm"], turn["seconds"], spec["watch"]
        if batches is not None:
            _say(measure(batches, *clock))
            continue
        with contextlib.closing(make(**{**spec["arguments"], **turn.get("arguments", {})})) as anew:
            _say(measure(anew, *clock))


def main() -> None:
    spec = json.loads(sys.argv[1])
    module, _, function = spec["batches"].partition(":")
    try:
        _turns(getattr(importlib.import_module(module), function), spec)
    except Exception as error:
        _say({"error": f"{type(error).__name__}: {error}".splitlines()[0]})
        raise
    sys.stdout.flush()
    os._exit(0)  # frameworks wait for their threads, which wait for batches that nobody takes


if __name__ == "__main__":
    main()
