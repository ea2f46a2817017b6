"""JPEGs of about 500x375 at quality 94 to 224x224x3 uint8, batch 32; server and trainer share the cores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.processes import headrace_server
from benchmarks.stage import Contender, Stage
from benchmarks.work import BATCH, BATCH_BYTES, RESIZE, SIDE, Work

TITLE = "jpeg: 500x375 JPEGs to 224x224"
ALIASED = [{**RESIZE[0], "antialias": False}]
_HEADRACE = "benchmarks.contenders.headrace_"
_TENSORFLOW = "benchmarks.contenders.tensorflow_peers:"
_TORCH = "benchmarks.contenders.torch_peers:"
_LIMITS = "benchmarks.contenders.limits:"


def run(stage: Stage, work: Work) -> dict[str, Any]:
    return {"contenders": stage.compare("jpeg", contenders(work.jpegs(), work.shards()))}


def contenders(folder: Path, shards: Path) -> list[Contender]:
    server, service = tuple(headrace_server(f"jpeg={folder}")), ("benchmarks.tf_service",)
    asked: dict[str, Any] = {"dataset": "jpeg", "transforms": RESIZE}
    files = {"folder": str(folder)}
    loop = {**files, "side": SIDE}
    return [
        Contender("bare", "bare loop, 2 threads, no server", _LIMITS + "decode_loop", loop),
        Contender("bare_library", "bare loop, libjpeg-turbo by itself", _LIMITS + "full_decode_loop", loop),
        Contender(
            "bare_sent",
            "bare loop, files read, batches sent",
            _LIMITS + "raw_sockets",
            {"batch_size": BATCH, "nbytes": BATCH_BYTES},
            ("benchmarks.loop_sender", str(folder), str(SIDE), str(BATCH)),
        ),
        Contender("headrace_tf", "headrace, to_tf", _HEADRACE + "tf:to_tf", asked, server),
        Contender(
            "headrace_tf_function", "headrace, to_tf in a tf.function", _HEADRACE + "tf:in_a_function", asked, server
        ),
        Contender("headrace", "headrace, NumPy", _HEADRACE + "client:arrays", asked, server),
        Contender(
            "headrace_tf_aliased",
            "headrace, to_tf, aliased",
            _HEADRACE + "tf:to_tf",
            {**asked, "transforms": ALIASED},
            server,
        ),
        Contender("tf_local", "tf.data, local", _TENSORFLOW + "local", files),
        Contender(
            "tf_service",
            "tf.data service, uncompressed",
            _TENSORFLOW + "service",
            {**files, "compression": None},
            service,
        ),
        Contender(
            "tf_service_default",
            "tf.data service, its default",
            _TENSORFLOW + "service",
            {**files, "compression": "AUTO"},
            service,
        ),
        Contender("generator", "from_generator, image by image", _TENSORFLOW + "generator", files),
        Contender(
            "generator_thread",
            "from_generator, preloading thread",
            _TENSORFLOW + "generator_with_thread",
            files,
        ),
        Contender("torch", "torch DataLoader, 2 workers", _TORCH + "data_loader", files),
        Contender("webdataset", "WebDataset, 2 workers", _TORCH + "web_dataset", {"shards": str(shards)}),
    ]
