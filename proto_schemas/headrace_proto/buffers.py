"""Memory for payloads: aligned, and used again as soon as nothing holds it any more."""

from __future__ import annotations

import sys
import threading
from collections import deque

import numpy as np
from numpy.typing import NDArray

from .frame import ALIGNMENT


class BufferPool:
    """Buffers of a few sizes. Fresh memory costs a page fault for every 4 KiB; used memory does not.

    A buffer counts as free when nobody refers to it: no array, view, tensor or memoryview made of it. Python counts
    that, and whoever keeps memory for itself (TensorFlow and PyTorch do) keeps a reference. Safe to use from many
    threads.
    """

    def __init__(self, most_idle: int = 8, most_bytes: int = 0) -> None:
        """Unused buffers beyond `most_idle` are kept only while all, those in use too, have at most `most_bytes`."""
        self._most_idle, self._most_bytes = most_idle, most_bytes
        self._bytes = 0
        self._rooms: deque[_Room] = deque()
        self._lock = threading.Lock()

    def get(self, nbytes: int) -> NDArray[np.uint8]:
        """Memory that nobody else uses, with any content, that begins at a multiple of 64 bytes: uint8 (nbytes,)."""
        with self._lock:
            room = self._take_unused(nbytes + ALIGNMENT)
            if room is None:
                room = _Room(nbytes + ALIGNMENT)
                self._rooms.append(room)
                self._bytes += room.length
            return room.memory[room.skip : room.skip + nbytes]

    def _take_unused(self, length: int) -> _Room | None:
        """The one of this length that is unused for longest. Too many that are unused, of other lengths say, go."""
        found, idle = None, 0
        for _ in range(len(self._rooms)):
            room = self._rooms.popleft()
            if sys.getrefcount(room.memory) > _UNUSED:
                self._rooms.append(room)
            elif found is None and room.length == length:
                found = room
            elif idle < self._most_idle or self._bytes <= self._most_bytes:
                idle += 1
                self._rooms.append(room)
            else:
                self._bytes -= room.length
        if found is not None:
            self._rooms.append(found)
        return found


class _Room:
    """Memory, and how many of its bytes to skip to a multiple of 64."""

    def __init__(self, length: int) -> None:
        self.length, self.memory = length, np.empty(length, np.uint8)
        self.skip = -self.memory.ctypes.data % ALIGNMENT


def _references_when_unused() -> int:
    """What `sys.getrefcount` says of memory that only its room refers to; Python's versions differ."""
    room = _Room(1)
    return sys.getrefcount(room.memory)


_UNUSED = _references_when_unused()
