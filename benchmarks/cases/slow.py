"""The same JPEGs behind 100 ms of latency a read: the case that makes people ask how to keep `from_generator` fast."""

from __future__ import annotations

from typing import Any

from benchmarks.processes import headrace_server
from benchmarks.stage import Contender, Stage
from benchmarks.work import RESIZE, Work

TITLE = "slow storage: 100 ms a read"
LATENCY = 0.1
_TENSORFLOW = "benchmarks.contenders.tensorflow_peers:"


def run(stage: Stage, work: Work) -> dict[str, Any]:
    folder = work.jpegs()
    words = headrace_server(f"jpeg={folder}")
    delayed = ["benchmarks.delayed_server", str(LATENCY), str(folder), *words[2:]]
    asked: dict[str, Any] = {"dataset": "jpeg", "transforms": RESIZE}
    files: dict[str, Any] = {"folder": str(folder), "latency": LATENCY}
    to_tf = "benchmarks.contenders.headrace_tf:to_tf"
    contenders = [
        Contender("headrace_tf", "headrace, to_tf, no latency", to_tf, asked, tuple(words)),
        Contender("headrace_tf_slow", "headrace, to_tf, 100 ms a read", to_tf, asked, tuple(delayed)),
        Contender("generator", "from_generator, image by image", _TENSORFLOW + "generator", files),
        Contender(
            "generator_thread", "from_generator, preloading thread", _TENSORFLOW + "generator_with_thread", files
        ),
    ]
    return {"contenders": stage.compare("slow", contenders)}
