"""Reading ahead: as many reads at once as the storage's latency asks for, apart from decoding."""

from __future__ import annotations

import threading
import time

from .decode import Decoded
from .errors import SampleUnavailable
from .fairness import FairPool, Task
from .sources.base import Source

_WANTED_RATE = 5_000
"""Reads a second that the pool aims at; times the seconds of a read, this is how many must be in flight."""
_QUICK_SECONDS = 0.002
"""On average; a page cache or a local disk takes a tenth of it, a network more."""
_RUN_SECONDS = 0.002
_TURN_SECONDS = 5 * _RUN_SECONDS
"""A task reads so long before it makes room; on fast storage one task reads many samples."""
_LONGEST_RUN = 32
_SMOOTHING = 0.1
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class Turn:
    """A task's time at reading."""

    def __init__(self) -> None:
        self._end = time.perf_counter() + _TURN_SECONDS

    @property
    def over(self) -> bool:
        return time.perf_counter() > self._end


class Reader:
    """A pool of threads for blocking reads that measures the storage and adapts to it."""

    def __init__(self, most_threads: int, retries: int) -> None:
        self._most_threads, self._retries = most_threads, retries
        self._mean_seconds = 0.0001
        self._pool = FairPool("headrace-read", self._limit)
        self._closing = threading.Event()

    def submit(self, client: str, task: Task) -> None:
        self._pool.submit(client, task)

    def close(self, seconds: float) -> None:
        """Tries no failed read again, and waits so long for those under way."""
        self._closing.set()
        self._pool.close(seconds)

    @property
    def quick(self) -> bool:
        """Whether a read takes so little that handing it to other threads costs more than waiting for it."""
        return self._mean_seconds < _QUICK_SECONDS

    @property
    def run(self) -> int:
        """How many samples one task should read, one after the other."""
        return max(1, min(_LONGEST_RUN, int(_RUN_SECONDS / self._mean_seconds)))

    def read(self, source: Source, split: str, sample: int) -> bytes | Decoded:
        """One sample. A read that fails is tried again, later and later; the last error is raised."""
        pause = _FIRST_PAUSE
        for attempt in range(self._retries + 1):
            began = time.perf_counter()
            try:
                return source.read(split, sample)
            except SampleUnavailable:
                if attempt == self._retries or self._closing.wait(pause):
                    raise
                pause = min(2 * pause, _LONGEST_PAUSE)
            finally:
                self._mean_seconds += _SMOOTHING * (time.perf_counter() - began - self._mean_seconds)
        raise AssertionError("the last attempt returns or raises")

    def _limit(self) -> int:
        return max(2, min(self._most_threads, 1 + int(self._mean_seconds * _WANTED_RATE)))
