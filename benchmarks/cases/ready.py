"""Nothing to decode: arrays of 224x224x3 held in memory, gathered into batches in shuffled order; one stream."""

from __future__ import annotations

from typing import Any

from benchmarks.processes import headrace_server
from benchmarks.stage import Contender, Stage
from benchmarks.work import BATCH, BATCH_BYTES, Work

TITLE = "ready: arrays in memory"
_HEADRACE = "benchmarks.contenders.headrace_"
_TENSORFLOW = "benchmarks.contenders.tensorflow_peers:"


def run(stage: Stage, work: Work) -> dict[str, Any]:
    folder = work.arrays()
    server = tuple(headrace_server(f"ready={folder}", "--transforms", "[]"))
    asked: dict[str, Any] = {"dataset": "ready", "transforms": []}
    service = ("benchmarks.tf_service",)
    sliced: dict[str, Any] = {"arrays": str(folder), "batch_size": BATCH}
    contenders = [
        Contender(
            "raw",
            "raw sockets, sendall to recv_into",
            "benchmarks.contenders.limits:raw_sockets",
            {"batch_size": BATCH, "nbytes": BATCH_BYTES},
            ("benchmarks.raw_sender", str(BATCH_BYTES)),
        ),
        Contender("headrace_tf", "headrace, to_tf", _HEADRACE + "tf:to_tf", asked, server),
        Contender(
            "headrace_tf_function", "headrace, to_tf in a tf.function", _HEADRACE + "tf:in_a_function", asked, server
        ),
        Contender("headrace", "headrace, NumPy", _HEADRACE + "client:arrays", asked, server),
        Contender(
            "tf_service",
            "tf.data service, uncompressed",
            _TENSORFLOW + "service_ready",
            {**sliced, "compression": None},
            service,
        ),
        Contender(
            "tf_service_gathered",
            "tf.data service, uncompressed, tf.gather",
            _TENSORFLOW + "service_gathered",
            {**sliced, "compression": None},
            service,
        ),
        Contender(
            "tf_service_default",
            "tf.data service, its default",
            _TENSORFLOW + "service_ready",
            {**sliced, "compression": "AUTO"},
            service,
        ),
    ]
    return {"contenders": stage.compare("ready", contenders)}
