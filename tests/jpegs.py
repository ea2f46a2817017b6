"""Small baseline JPEGs of every kind that is read in C."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import simplejpeg
from fuzzing import bombs
from numpy.typing import NDArray
from PIL import Image


def smooth(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """(height, width, 3), uint8: colours that change slowly, with a little noise on them."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), np.uint8)
    fine = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR), np.int16)
    mixed: NDArray[np.uint8] = np.clip(fine + generator.integers(-9, 10, fine.shape), 0, 255).astype(np.uint8)
    return mixed


def encoded(pixels: NDArray[np.uint8], mode: str | None = None, **options: Any) -> bytes:
    """As JPEG, with Pillow's options; of one channel, (height, width), it is gray."""
    return bombs.encoded(Image.fromarray(pixels).convert(mode), "JPEG", **options)


def encoded_variously() -> Iterator[bytes]:
    """Both sizes leave units of the scan that are only partly the picture's."""
    restarts: tuple[dict[str, Any], ...] = ({}, {"restart_marker_blocks": 2}, {"restart_marker_rows": 1})
    kinds = itertools.product(("4:4:4", "4:2:2", "4:2:0"), (10, 60, 95), (False, True), restarts)
    for number, (subsampling, quality, optimize, restart) in enumerate(kinds):
        pixels = smooth(*((73, 90) if number % 2 else (64, 121)), seed=number)
        yield encoded(pixels, subsampling=subsampling, quality=quality, optimize=optimize, **restart)
    yield encoded(smooth(70, 99)[:, :, 0], quality=80)


def long() -> Iterator[bytes]:
    """Of scans that several lanes read, and of some whose units look alike wherever one begins to read."""
    for kind in ("444", "422", "420", "440", "Gray"):
        yield simplejpeg.encode_jpeg(smooth(190, 330, seed=6), quality=96, colorsubsampling=kind)
    yield encoded(smooth(200, 300, seed=7), quality=96, optimize=True)
    yield encoded(smooth(200, 300, seed=8), quality=97, restart_marker_rows=9)
    yield encoded(np.full((1500, 2000, 3), 77, np.uint8), subsampling="4:4:4")


def wide() -> Iterator[bytes]:
    """Of all subsamplings that libjpeg-turbo has; so wide that columns on either side of a window may be left out."""
    for kind in ("444", "422", "420", "440", "411", "Gray"):
        yield simplejpeg.encode_jpeg(smooth(50, 330, seed=5), quality=90, colorsubsampling=kind)
