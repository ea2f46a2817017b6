"""Reading ahead: as many reads at once as the storage's latency asks for, apart from decoding."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

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
_HANGING_SECONDS = 0.5
"""A read that has taken so long may take for ever."""
_POOL = "headrace-read"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


def _nobody() -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class _Read:
    """A read under way."""

    began: float
    late: Callable[[], None]
    told: bool = False


class Turn:
    """A task's time at reading."""

    def __init__(self) -> None:
        self._end = time.perf_counter() + _TURN_SECONDS

    @property
    def over(self) -> bool:
        return time.perf_counter() > self._end


class Reader:
    """A pool of threads for blocking reads that measures the storage and adapts to it."""

    def __init__(self, most_threads: int, retries: int, timeout: float = 60.0) -> None:
        """`timeout` is how many seconds a read may take before whoever wants it is told that it is late."""
        self._most_threads, self._retries, self._timeout = most_threads, retries, timeout
        self._under_way: dict[int, _Read] = {}
        """By the thread that reads."""
        self._hanging: dict[int, _Read] = {}
        """Those that hung when this was looked at last."""
        self.on_hanging: Callable[[], None] = _nobody
        """Called when reads begin to hang."""
        self._mean_seconds = 0.0001
        self._pool = FairPool(_POOL, self._limit)
        self._closing = threading.Event()
        threading.Thread(target=self._watch, name="headrace-watch", daemon=True).start()

    def submit(self, client: str, task: Task, turn: int = 0) -> None:
        self._pool.submit(client, task, turn)

    def close(self, seconds: float) -> None:
        """Tries no failed read again, and waits so long for those under way."""
        self._closing.set()
        self._pool.close(seconds)

    @property
    def quick(self) -> bool:
        """Whether a read takes so little that handing it to other threads costs more than waiting for it."""
        return self._mean_seconds < _QUICK_SECONDS and not self._hanging

    @property
    def hanging_elsewhere(self) -> int:
        """How many threads of other pools stand still in a read that hangs."""
        if not self._hanging:
            return 0
        own = {thread.ident for thread in threading.enumerate() if thread.name.startswith(_POOL)}
        return len(self._hanging.keys() - own)

    @property
    def run(self) -> int:
        """How many samples one task should read, one after the other."""
        return max(1, min(_LONGEST_RUN, int(_RUN_SECONDS / self._mean_seconds)))

    def read(self, source: Source, split: str, sample: int, late: Callable[[], None] = _nobody) -> bytes | Decoded:
        """One sample. A read that fails is tried again, later and later; the last error is raised.

        A read cannot be broken off: `late` is called, from another thread, when it takes longer than it may.
        """
        pause = _FIRST_PAUSE
        for attempt in range(self._retries + 1):
            began = time.perf_counter()
            self._under_way[threading.get_ident()] = _Read(began, late)
            try:
                return source.read(split, sample)
            except SampleUnavailable:
                if attempt == self._retries or self._closing.wait(pause):
                    raise
                pause = min(2 * pause, _LONGEST_PAUSE)
            finally:
                del self._under_way[threading.get_ident()]
                self._mean_seconds += _SMOOTHING * (time.perf_counter() - began - self._mean_seconds)
        raise AssertionError("the last attempt returns or raises")

    def _watch(self) -> None:
        """Tells of reads that hang, and of those that are late."""
        while not self._closing.wait(_HANGING_SECONDS / 2):
            now = time.perf_counter()
            under_way = list(self._under_way.items())
            self._hanging = {thread: read for thread, read in under_way if read.began < now - _HANGING_SECONDS}
            if not self._hanging:
                continue
            self.on_hanging()
            for read in self._hanging.values():
                if read.began < now - self._timeout and not read.told:
                    read.told = True
                    read.late()

    def _limit(self) -> int:
        return max(2, min(self._most_threads, 1 + int(self._mean_seconds * _WANTED_RATE)))
