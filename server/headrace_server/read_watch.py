"""What is known of the storage from the reads under way: how long one takes, and which of them hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

_QUICK_SECONDS = 0.002
"""On average; a page cache or a local disk takes a tenth of it, a network more."""
_SLOW_SECONDS = 0.01
"""From here on so many reads are under way that each of them must cost little."""
_SMOOTHING = 0.1
_HANGING_SECONDS = 0.5
"""A read that has taken so long may take for ever."""


def nobody() -> None:
    """Nobody wants to know."""


@dataclass(slots=True, eq=False)
class ReadUnderWay:
    """A read that has begun, and who is to be told when it is late."""

    began: float
    late: Callable[[], None]
    thread: int | None
    """One of Python's, which stands still meanwhile."""
    told: bool = False


class ReadWatch:
    """Measures the storage, and tells of reads that hang. Safe to use from many threads."""

    def __init__(self, timeout: float) -> None:
        """`timeout` is how many seconds a read may take before whoever wants it is told that it is late."""
        self._timeout = timeout
        self._under_way: set[ReadUnderWay] = set()
        self._hanging: list[ReadUnderWay] = []
        """Those that hung when this was looked at last."""
        self.on_hanging: list[Callable[[], None]] = []
        """Called four times a second while reads hang."""
        self.mean_seconds = 0.0001
        self.closing = threading.Event()
        threading.Thread(target=self._watch, name="headrace-watch", daemon=True).start()

    def begin(self, late: Callable[[], None], thread: int | None) -> ReadUnderWay:
        """A read cannot be broken off: `late` is called, from another thread, when it takes longer than it may."""
        read = ReadUnderWay(time.perf_counter(), late, thread)
        self._under_way.add(read)
        return read

    def end(self, read: ReadUnderWay, seconds: float | None = None, files: int = 1) -> None:
        """The read has ended, of so many files; it took `seconds`, if not all the time since it began."""
        self._under_way.remove(read)
        taken = time.perf_counter() - read.began if seconds is None else seconds
        self.mean_seconds += (1 - (1 - _SMOOTHING) ** files) * (taken / max(files, 1) - self.mean_seconds)

    @property
    def quick(self) -> bool:
        """Whether a read takes so little that handing it to other threads costs more than waiting for it."""
        return self.mean_seconds < _QUICK_SECONDS and not self._hanging

    @property
    def slow(self) -> bool:
        """Whether a read takes so long that threads in C are worth their hand-over."""
        return self.mean_seconds >= _SLOW_SECONDS

    @property
    def hanging(self) -> int:
        """How many reads hang."""
        return len(self._hanging)

    @property
    def hanging_threads(self) -> set[int]:
        """The threads that stand still in a read that hangs."""
        return {read.thread for read in self._hanging if read.thread is not None}

    def _watch(self) -> None:
        while not self.closing.wait(_HANGING_SECONDS / 2):
            self._look(time.perf_counter())

    def _look(self, now: float) -> None:
        """Apart from the loop, which would hold the last read, and whoever wanted it, until another one hangs."""
        self._hanging = [read for read in list(self._under_way) if read.began < now - _HANGING_SECONDS]
        if not self._hanging:
            return
        for listener in self.on_hanging:
            listener()
        for read in self._hanging:
            if read.began < now - self._timeout and not read.told:
                read.told = True
                read.late()
