"""What the server's Python costs per image: JPEGs of 8x8 pixels, so that next to nothing else is left to do.

The whole server's CPU time per image, in all threads, bounds from above what runs under the interpreter's lock: it has
the system's calls, the decoder and the event loop in it.
"""

from __future__ import annotations

from typing import Any

from benchmarks.processes import headrace_server
from benchmarks.stage import Contender, Stage
from benchmarks.work import Work

TITLE = "lock: Python work per image"
_TRANSFORMS = [{"name": "Resize", "size": [8, 8]}]


def run(stage: Stage, work: Work) -> dict[str, Any]:
    folder = work.tiny()
    contenders = [
        Contender(
            "headrace",
            "headrace, 8x8 JPEGs, batches of 128",
            "benchmarks.contenders.headrace_client:arrays",
            {"dataset": "tiny", "transforms": _TRANSFORMS, "batch_size": 128},
            tuple(headrace_server(f"tiny={folder}")),
        ),
        Contender(
            "bare",
            "bare loop of the same decode and resize",
            "benchmarks.contenders.limits:decode_loop",
            {"folder": str(folder), "side": 8, "batch_size": 128},
        ),
    ]
    return {"contenders": stage.compare("lock", contenders)}
