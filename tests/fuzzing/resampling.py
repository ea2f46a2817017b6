"""The compiled resampling, in memory that ends where the image does, and beside Pillow's."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuzzing.runner import Target
from headrace_server import native, resample
from headrace_server.native import Edges, Resampler
from headrace_server.resample import resize_with_pillow

_MOST_MIB = 256
_MOST_SIDE = 3000
_GUARD = 0xA5
_EDGE_VALUES = (-1.0, -0.0, 0.5, 1e-9, 1e-30, 1e9, 3e38, 1e300, float("nan"), float("inf"), -float("inf"))


@contextlib.contextmanager
def target() -> Iterator[Target]:
    """Where nothing was compiled, Pillow is compared with itself."""
    yield Target(lambda dice: dice.randbytes(8), run, _MOST_MIB, first=(b"",))


def run(data: bytes) -> str:
    dice = random.Random(data)
    channels = dice.choice((1, 3, 3, 3, 2, 4))
    image = _image(dice, channels)
    size = _side(dice, 0), _side(dice, 0)
    edges, interpolation = _edges(dice, image), dice.choice(("bilinear", "bicubic"))
    valid = channels in (1, 3) and 0 not in size and 0 not in image.shape and _are_inside(edges, image)
    before = image.copy()
    for kernel in _kernels():
        room = np.full(size[0] * size[1] * channels + 256, _GUARD, np.uint8)
        start = dice.randrange(128)
        out = room[start : start + size[0] * size[1] * channels].reshape(*size, channels)
        out.flags.writeable = dice.random() > 0.02
        try:
            kernel(image, size, edges, interpolation, out)
        except ValueError:
            assert not (valid and out.flags.writeable), "refused what is good"
        else:
            assert valid, "did what cannot be done"
            assert out.flags.writeable, "wrote where nobody may"
            _compare(image, size, edges, interpolation, out, kernel)
        outside = np.concatenate([room[:start], room[start + out.size :]])
        assert (outside == _GUARD).all(), "written beside the result"
    assert np.array_equal(image, before), "the image was written to"
    return "resized" if valid else "refused"


def _kernels() -> list[Resampler]:
    return native.resamplers(tall_down_first=resample.NATIVE is None or resample.NATIVE.tall_down_first)


def _compare(
    image: NDArray[np.uint8], size: tuple[int, int], edges: Edges, interpolation: str, out: Any, kernel: Resampler
) -> None:
    if resample.NATIVE is None:
        return
    try:
        expected = resize_with_pillow(np.ascontiguousarray(image), size, edges, interpolation)
    except ValueError:  # a part without area is nothing to Pillow
        return
    assert np.array_equal(out, expected), f"kernel {kernel.kernel} differs from Pillow"


def _side(dice: random.Random, least: int) -> int:
    """Mostly small, and sometimes long."""
    most = dice.choice((3, 9, 40, 40, 200, 200, 600, _MOST_SIDE if dice.random() < 0.1 else 9))
    return dice.randint(least if dice.random() < 0.05 else 1, most)


def _image(dice: random.Random, channels: int) -> NDArray[np.uint8]:
    """Rows that lie one behind the other, apart, backwards or all in one place; the last byte is memory's last."""
    height, width = _side(dice, 0), _side(dice, 0)
    gap = dice.choice((0, 0, 1, 3, 64))
    row = width * channels + gap
    whole = _before_a_fence(max(0, height * row - gap))
    whole[:] = np.frombuffer(dice.randbytes(min(4096, whole.size)) * (whole.size // 4096 + 1), np.uint8)[: whole.size]
    if 0 in (height, width):
        return np.zeros((height, width, channels), np.uint8)
    image = np.lib.stride_tricks.as_strided(whole, (height, width, channels), (row, channels, 1))
    views = (image, image, image, image[::-1], image[:, ::-1], image[::2], image[:, ::3], image[:, :, ::-1])
    return dice.choice((*views, np.broadcast_to(image[:1], image.shape), image.transpose(1, 0, 2)))


def _before_a_fence(length: int) -> NDArray[np.uint8]:
    """So many bytes, behind which the process may neither read nor write; where there is such memory."""
    if not length:
        return np.empty(0, np.uint8)
    pages = -(-length // mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    _protect(start + pages * mmap.PAGESIZE)
    return np.frombuffer(memory, np.uint8, length, pages * mmap.PAGESIZE - length)


def _protect(page: int) -> None:
    function = ctypes.CDLL(None).mprotect
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    assert function(page, mmap.PAGESIZE, 0) == 0


def _edges(dice: random.Random, image: NDArray[np.uint8]) -> Edges:
    height, width = image.shape[:2]
    if dice.random() < 0.4:
        return 0, 0, width, height
    across, down = (sorted(dice.choice((dice.random(), 0, 1)) * side for _ in range(2)) for side in (width, height))
    edges = [across[0], down[0], across[1], down[1]]
    if dice.random() < 0.15:
        edges[dice.randrange(4)] = dice.choice((*_EDGE_VALUES, width + 0.001, height + 1.0))
    return edges[0], edges[1], edges[2], edges[3]


def _are_inside(edges: Edges, image: NDArray[np.uint8]) -> bool:
    """In single precision, which is what edges are given in."""
    with np.errstate(over="ignore"):
        left, top, right, bottom = np.array(edges).astype(np.float32)
    height, width = np.float32(image.shape[0]), np.float32(image.shape[1])
    return bool(0 <= left <= right <= width and 0 <= top <= bottom <= height)
