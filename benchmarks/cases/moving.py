"""The steps of docs/moving-from-tf-data.md, on the JPEGs of `jpeg`."""

from __future__ import annotations

from typing import Any

from benchmarks.processes import headrace_server
from benchmarks.stage import Contender, Stage
from benchmarks.work import Work

TITLE = "moving: from from_tensor_slices to headrace"
_PEERS = "benchmarks.contenders.tensorflow_peers:"


def run(stage: Stage, work: Work) -> dict[str, Any]:
    folder = work.jpegs()
    files = {"folder": str(folder)}
    server = tuple(headrace_server(f"jpeg={folder}"))
    contenders = [
        Contender("in_memory", "from_tensor_slices of decoded images", _PEERS + "in_memory", files),
        Contender("paths_and_map", "from_tensor_slices of paths, and map", _PEERS + "local", files),
        Contender("generator", "from_generator, image by image", _PEERS + "generator", files),
        Contender("generator_with_thread", "with a preloading thread", _PEERS + "generator_with_thread", files),
        Contender("from_headrace", "headrace, to_tf", _PEERS + "from_headrace", {"dataset": "jpeg"}, server),
    ]
    return {"contenders": stage.compare("moving", contenders)}
