"""JPEGs decoded and resized into their places, several in one call: see jpegs.c."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import _imaging, features

from .buffers import address_of_bytes
from .loading import loaded

_FUNCTIONS = (
    "jpeg_std_error",
    "jpeg_CreateDecompress",
    "jpeg_destroy_decompress",
    "jpeg_mem_src",
    "jpeg_read_header",
    "jpeg_start_decompress",
    "jpeg_crop_scanline",
    "jpeg_skip_scanlines",
    "jpeg_read_scanlines",
    "jpeg_finish_decompress",
    "jpeg_abort_decompress",
)
_KNOWN_INSIDE = ("1", "2", "3")
"""The first numbers of releases of libjpeg-turbo in which `struct jpeg_codes` is taken to be what libjpeg.h says."""
_PICTURE = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("data", "size", "height", "width", "top", "left", "down", "across", "new_height", "new_width", "bicubic"),
            *("wanted_top", "wanted_left", "wanted_down", "wanted_across"),
            *("mirrored", "upside_down", "out", "made"),
        )
    ]
)
"""See `struct picture` in jpegs.c."""


class JpegTask(NamedTuple):
    """A JPEG of height x width pixels, what is to be made of it, and where. Windows are (top, left, height, width)."""

    data: bytes
    height: int
    width: int
    window: tuple[int, int, int, int]
    """The part of the picture that is resized."""
    size: tuple[int, int]
    """The height and width that it gets."""
    bicubic: bool
    wanted: tuple[int, int, int, int]
    """The part of that which is made."""
    out: int
    """Where memory for it begins: (H, W, 3) as `wanted` says, uint8, C-contiguous."""
    mirrored: bool = False
    upside_down: bool = False


@dataclass(frozen=True)
class JpegMaker:
    """Decodes with the libjpeg-turbo that Pillow has loaded, and resizes as `Resampler` does."""

    function: Any
    glance: Any
    libjpeg: Any
    """A table of the functions of libjpeg-turbo."""
    kernel: int
    tall_down_first: bool

    def look(self, files: Sequence[bytes]) -> list[tuple[int, int]]:
        """The (height, width) of each JPEG that is upright and has nothing unusual in its headers; zeros for others."""
        pictures = np.zeros(len(files), _PICTURE)
        pictures["data"] = [address_of_bytes(data) for data in files]
        pictures["size"] = [len(data) for data in files]
        self.glance(pictures.ctypes.data, len(pictures))
        return [*zip(pictures["height"].tolist(), pictures["width"].tolist(), strict=True)]

    def make(self, tasks: Sequence[JpegTask]) -> list[bool]:
        """Fills each `out`, and says of which it could; what is wrong with the others, somebody else must say.

        Whoever calls it holds the memory. Releases the interpreter's lock.
        """
        pictures = np.array([_picture(task) for task in tasks], _PICTURE)
        self.function(self.libjpeg, pictures.ctypes.data, len(pictures), self.kernel, self.tall_down_first)
        made: list[bool] = pictures["made"].astype(bool).tolist()
        return made


def _picture(task: JpegTask) -> tuple[int, ...]:
    data, height, width, window, size, bicubic, wanted, out, *flips = task
    return (address_of_bytes(data), len(data), height, width, *window, *size, bicubic, *wanted, *flips, out, 0)


def jpeg_maker(kernel: int, *, tall_down_first: bool) -> JpegMaker | None:
    """None where the library was not compiled, or Pillow's libjpeg cannot be called."""
    library, functions = loaded(), _libjpeg()
    if library is None or functions is None:
        return None
    glance = ctypes.PyDLL(library._name).headrace_look  # so short that letting go of the lock would cost more
    glance.argtypes = library.headrace_look.argtypes
    return JpegMaker(library.headrace_make_jpegs, glance, functions, kernel, tall_down_first)


JpegDecoder = Callable[[bytes, int, int, int], NDArray[np.uint8] | None]
"""The picture of a JPEG of (height, width) pixels, its sides divided by a factor, 1, 2, 4 or 8, and rounded up.

(H, W, 3), uint8, RGB. None where anything in the file is out of the ordinary. Releases the interpreter's lock.
"""


def jpeg_decoder() -> JpegDecoder | None:
    """None where the library was not compiled, or Pillow's libjpeg cannot be called."""
    library, functions = loaded(), _libjpeg()
    if library is None or functions is None:
        return None
    function = library.headrace_decode_jpeg

    def decode(data: bytes, height: int, width: int, factor: int) -> NDArray[np.uint8] | None:
        out = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
        return out if function(functions, data, len(data), height, width, factor, out.ctypes.data) else None

    return decode


@cache
def _libjpeg() -> Any:
    """The table of functions that libjpeg.h describes; None where it cannot be had."""
    if ctypes.sizeof(ctypes.c_void_p) != _PICTURE["data"].itemsize:
        return None
    try:
        pillow = ctypes.CDLL(_imaging.__file__)
        addresses = [ctypes.cast(getattr(pillow, name), ctypes.c_void_p).value for name in _FUNCTIONS]
    except (OSError, AttributeError):
        return None
    if (features.version("libjpeg_turbo") or "").partition(".")[0] not in _KNOWN_INSIDE:
        addresses[-1] = None
    return (ctypes.c_void_p * len(addresses))(*addresses)
