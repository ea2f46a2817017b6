"""Baseline JPEGs at an eighth of their size in C: see eighth.c."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .loading import loaded

EighthDecoder = Callable[[bytes, int, int], NDArray[np.uint8] | None]
"""The picture (height, width, 3), uint8, RGB, of a JPEG whose sides are 8 times as long, or up to 7 pixels less.

None where anything in the file is out of the ordinary. Releases the interpreter's lock. Raises MemoryError.
"""

_DONE, _NO_MEMORY = 0, 2


def eighth_decoder() -> EighthDecoder | None:
    """None where the library was not compiled."""
    library = loaded()
    if library is None:
        return None
    function = library.headrace_eighth

    def decode(data: bytes, height: int, width: int) -> NDArray[np.uint8] | None:
        out = np.empty((height, width, 3), np.uint8)
        status = function(data, len(data), out.ctypes.data, height, width)
        if status == _NO_MEMORY:
            raise MemoryError(f"no memory to decode a JPEG to {height} x {width} pixels")
        return out if status == _DONE else None

    return decode
