"""Photographs of 12 megapixels to 224x224, and how far the result is from Pillow's."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import headrace
from benchmarks.processes import Failed, Server, headrace_server
from benchmarks.stage import Contender, Stage
from benchmarks.work import RESIZE, SIDE, Work

TITLE = "large: 12 megapixels to 224x224"
_LIMITS = "benchmarks.contenders.limits:"
_BATCH = 8


def run(stage: Stage, work: Work) -> dict[str, Any]:
    folder = work.large()
    server = tuple(headrace_server(f"large={folder}"))
    asked: dict[str, Any] = {"dataset": "large", "transforms": RESIZE, "batch_size": _BATCH}
    loop = {"folder": str(folder), "side": SIDE, "batch_size": _BATCH}
    contenders = [
        Contender("full", "bare loop, decoded in full", _LIMITS + "full_decode_loop", loop),
        Contender("headrace", "headrace, NumPy", "benchmarks.contenders.headrace_client:arrays", asked, server),
        Contender("headrace_tf", "headrace, to_tf", "benchmarks.contenders.headrace_tf:to_tf", asked, server),
        Contender(
            "tf_local",
            "tf.data, local (aliased)",
            "benchmarks.contenders.tensorflow_peers:local",
            {"folder": str(folder)},
        ),
    ]
    return {"contenders": stage.compare("large", contenders), **_look(server, folder)}


def _look(server: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """The mean difference in levels between what headrace sends and Pillow's antialiased result, image by image."""
    try:
        with Server(server) as running, headrace.connect(running.address, wait=5) as client:
            data = client.dataset("large", batch_size=_BATCH, transforms=RESIZE)
            batch = next(iter(data))
    except (Failed, headrace.HeadraceError) as error:
        return {"look_error": str(error)}
    differences = []
    for image, key in zip(batch["image"], batch["key"], strict=True):
        with Image.open(io.BytesIO((folder / str(key)).read_bytes())) as picture:
            wanted = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.int16)
        differences.append(float(np.abs(image.astype(np.int16) - wanted).mean()))
    return {"difference_from_pillow": {"mean": float(np.mean(differences)), "most": max(differences)}}
