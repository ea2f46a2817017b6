"""The way of an image file's bytes into a slot of a batch, as the server goes it: decoded, turned, resized, written."""

from __future__ import annotations

import contextlib
import ctypes
import random
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuzzing import pictures
from fuzzing.mutations import mutated
from fuzzing.runner import Target
from headrace_proto import transforms as proto
from headrace_server.decode import Decoded, DecodeError, Reduction, decode_scaled
from headrace_server.transforms.custom import CustomTransforms
from headrace_server.transforms.pipeline import Pipeline, compile_pipeline

MAX_PIXELS = 2**20
MOST_BYTES_A_PIXEL = 32
"""Of memory, while an image is decoded: up to four channels as the decoder has them, as Pillow has them, and as RGB."""
_OVERHEAD_MIB = 32
"""The files themselves, what the allocator keeps, and tables."""
_PATTERN = 0xA5
_M_PERTURB = -6
"""For C's `mallopt`: what fresh memory is filled with, if it is not 0."""
_RESERVING = (b"\x28\xb5\x2f\xfd", b"\xfd7zXZ")
"""How Zstandard and LZMA begin. They reserve as large a window as their header says, and touch what they need of it."""


def _compiled(*transforms: proto.Transform, dtype: str | None = None, layout: str = "NHWC") -> Pipeline:
    return compile_pipeline(transforms, dtype=dtype, layout=layout, custom=CustomTransforms({}))


PIPELINES = (
    _compiled(proto.Resize((13, 17))),
    _compiled(proto.Resize(16), proto.CenterCrop(16)),
    _compiled(proto.RandomResizedCrop(16), proto.RandomFlip()),
    _compiled(proto.RandomResizedCrop((9, 30), antialias=False), dtype="float16"),
    _compiled(
        proto.RandomCrop(20, padding=3), proto.ColorJitter(0.5, 0.5, 0.5, 0.2), proto.Normalize(0.5, 0.5), layout="NCHW"
    ),
    _compiled(proto.RandomRotation(40), proto.Resize((8, 8), antialias=False), layout="NCHW"),
    _compiled(proto.Grayscale(), proto.Resize((9, 9), interpolation="bicubic"), dtype="float32"),
    _compiled(proto.Resize((24, 5), interpolation="nearest")),
)


@contextlib.contextmanager
def target() -> Iterator[Target]:
    kinds = pictures.seeds()

    def make(dice: random.Random) -> bytes:
        return mutated(dice, dice.choice(kinds))

    most_mib = MAX_PIXELS * MOST_BYTES_A_PIXEL // 2**20 + _OVERHEAD_MIB
    good = (seed for kind in kinds for seed in kind)
    yield Target(make, run, most_mib, first=(*good, *pictures.largest(MAX_PIXELS)))


def run(data: bytes) -> str:
    number = zlib.crc32(data)
    pipeline, factor = PIPELINES[number % len(PIPELINES)], 1 << (number >> 8) % 4
    try:
        decoded = _decoded_alike(data, _most(factor if pipeline.steps[0].__class__ in _SCALABLE else 1))
        _fill(pipeline, decoded, number)
    except DecodeError as error:
        if isinstance(error.__cause__, MemoryError):
            raise
        return "refused"
    return f"1:{decoded.factor}"


_SCALABLE = tuple(pipeline.steps[0].__class__ for pipeline in PIPELINES[:3:2])


def _most(factor: int) -> Reduction:
    """This factor, or as much of it as leaves 8 pixels a side."""

    def reduction(height: int, width: int) -> int:
        possible = [each for each in (8, 4, 2) if each <= factor and min(height, width) >= 8 * each]
        return possible[0] if possible else 1

    return reduction


def _decoded_alike(data: bytes, reduction: Reduction) -> Decoded:
    """The picture, which must not depend on what memory held before: decoded twice, in memory of other content."""
    twice = []
    patterns = (0, 0) if any(magic in data for magic in _RESERVING) else (0x5A, 0xC3)
    for pattern in patterns:
        _fill_fresh_memory_with(pattern)
        twice.append(_checked(decode_scaled(data, reduction, max_pixels=MAX_PIXELS), reduction))
    assert np.array_equal(twice[0].image, twice[1].image), "the pixels are of uninitialised memory"
    return twice[0]


def _checked(decoded: Decoded, reduction: Reduction) -> Decoded:
    image, height, width, factor = decoded.image, decoded.height, decoded.width, decoded.factor
    assert 0 < height * width <= MAX_PIXELS
    assert factor in (1, reduction(height, width))
    assert image.shape == (-(-height // factor), -(-width // factor), 3)
    assert image.dtype == np.uint8
    assert image.flags.carray
    return decoded


def _fill(pipeline: Pipeline, decoded: Decoded, number: int) -> None:
    """Writes all of its slot in a batch, and nothing else."""
    output = pipeline.output
    batches: Sequence[NDArray[Any]] = [np.zeros((3, *output.shape), output.dtype) for _ in range(2)]
    for batch, pattern in zip(batches, (_PATTERN, ~_PATTERN & 0xFF), strict=True):
        batch.view(np.uint8)[:] = pattern
        pipeline.finish(pipeline.begin(decoded, batch[1]), {}, 7, 1, number, batch[1])
        assert (batch[[0, 2]].view(np.uint8) == pattern).all(), "written beside the slot"
    assert np.array_equal(batches[0][1], batches[1][1], equal_nan=output.dtype != "uint8"), "not all of it was written"


def _fill_fresh_memory_with(pattern: int) -> None:
    """Where the C library can (glibc's)."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_PERTURB, pattern)
