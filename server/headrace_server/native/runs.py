"""Several files read in one call: see runs.c."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import numpy as np

from .buffers import address_of_bytes, new_bytes
from .loading import loaded

_WANTED = np.dtype([(name, np.int64) for name in ("out", "size", "mtime_ns", "whole")])
"""See runs.c."""


class FileRun:
    """Files to be read one after the other, each of a size and time of modification."""

    def __init__(self, function: Callable[..., int], files: Sequence[tuple[bytes, int, int]]) -> None:
        """`files` are (path, bytes, nanoseconds). Raises MemoryError, and ValueError for a path with a zero in it."""
        if any(b"\0" in path for path, _, _ in files):
            raise ValueError("no path has a zero byte in it")
        self._function = function
        self._paths = b"\0".join([path for path, _, _ in files]) + b"\0"
        self._data = [new_bytes(None, size) for _, size, _ in files]
        rows = [
            (address_of_bytes(data), size, mtime, 0) for data, (_, size, mtime) in zip(self._data, files, strict=True)
        ]
        self._wanted = np.array(rows, _WANTED)
        self._at = ctypes.c_int64()

    @property
    def at(self) -> int:
        """The number of the file that is being read."""
        return self._at.value

    def read(self, patience: float) -> list[bytes | None]:
        """The first files' bytes, of one at least, and of no more once so many seconds have passed.

        None for a file that is not as it was wanted, or cannot be read. Releases the interpreter's lock.
        """
        wanted = self._wanted
        count = self._function(
            self._paths, wanted.ctypes.data, len(wanted), int(patience * 1e9), ctypes.byref(self._at)
        )
        return [
            data if whole else None for data, whole in zip(self._data, wanted["whole"][:count].tolist(), strict=False)
        ]


def file_run() -> Callable[[Sequence[tuple[bytes, int, int]]], FileRun] | None:
    """None where the library was not compiled."""
    library = loaded()
    if library is None or ctypes.sizeof(ctypes.c_void_p) != _WANTED["out"].itemsize:
        return None
    return lambda files: FileRun(library.headrace_read_run, files)
