"""Reading ahead: as many reads at once as the storage's latency asks for, apart from decoding."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from .decode import Decoded
from .errors import SampleUnavailable
from .fairness import FairPool, Task
from .file_reads import FileReads
from .native import file_run, read_threads
from .read_watch import ReadWatch, nobody
from .sources.base import Source
from .sources.folder import File

_WANTED_RATE = 5_000
"""Reads a second that the pool aims at; times the seconds of a read, this is how many must be in flight."""
_RUN_SECONDS = 0.002
_TURN_SECONDS = 5 * _RUN_SECONDS
"""A task reads so long before it makes room; on fast storage one task reads many samples."""
_LONGEST_RUN = 32
_POOL = "headrace-read"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0

FILE_RUN = file_run()
"""Reads several files in one call, where the library was compiled."""


class Turn:
    """A task's time at reading."""

    def __init__(self) -> None:
        self._end = time.perf_counter() + _TURN_SECONDS

    @property
    def over(self) -> bool:
        return time.perf_counter() > self._end


class Reader:
    """A pool of threads for blocking reads that adapts to the storage."""

    def __init__(self, most_threads: int, retries: int, timeout: float = 60.0) -> None:
        """`timeout` is how many seconds a read may take before whoever wants it is told that it is late."""
        self._most_threads, self._retries = most_threads, retries
        self.watch = ReadWatch(timeout)
        self._pool = FairPool(_POOL, self._limit)
        threads = read_threads()
        self._files = None if threads is None else FileReads(threads, self.watch, self._limit)
        self.watch.on_hanging.append(self._pool.nudge)
        if self._files is not None:
            self.watch.on_hanging.append(self._files.nudge)

    def submit(self, client: str, task: Task, turn: int = 0) -> None:
        self._pool.submit(client, task, turn)

    def close(self, seconds: float) -> None:
        """Tries no failed read again, and waits so long for those under way in threads of Python's."""
        self.watch.closing.set()
        if self._files is not None:
            self._files.close()
        self._pool.close(seconds)

    @property
    def quick(self) -> bool:
        """Whether a read takes so little that handing it to other threads costs more than waiting for it."""
        return self.watch.quick

    @property
    def files(self) -> FileReads | None:
        """For files, where the storage is so slow that it pays; None also where the library was not compiled."""
        return self._files if self.watch.slow else None

    @property
    def hanging_elsewhere(self) -> int:
        """How many threads of other pools stand still in a read that hangs."""
        hanging = self.watch.hanging_threads
        if not hanging:
            return 0
        own = {thread.ident for thread in threading.enumerate() if thread.name.startswith(_POOL)}
        return len(hanging - own)

    @property
    def run(self) -> int:
        """How many samples one task should read, one after the other."""
        return max(1, min(_LONGEST_RUN, int(_RUN_SECONDS / self.watch.mean_seconds)))

    def read(self, source: Source, split: str, sample: int, late: Callable[[], None] = nobody) -> bytes | Decoded:
        """One sample. A read that fails is tried again, later and later; the last error is raised.

        A read cannot be broken off: `late` is called, from another thread, when it takes longer than it may.
        """
        pause = _FIRST_PAUSE
        for attempt in range(self._retries + 1):
            read = self.watch.begin(late, threading.get_ident())
            try:
                return source.read(split, sample)
            except SampleUnavailable:
                if attempt == self._retries or self.watch.closing.wait(pause):
                    raise
                pause = min(2 * pause, _LONGEST_PAUSE)
            finally:
                self.watch.end(read)
        raise AssertionError("the last attempt returns or raises")

    def read_files(self, files: Sequence[File], late: Callable[[int], None]) -> list[bytes | None]:
        """The first files, read one after the other without the interpreter's lock; only some, if that takes long.

        None for one that `read` must say something of, and none at all where the library was not compiled. `late` is
        told which file's read takes longer than it may.
        """
        if FILE_RUN is None or not files:
            return []
        try:
            run = FILE_RUN(files)
        except ValueError:  # a path that no file can have
            return []
        read = self.watch.begin(lambda: late(run.at), threading.get_ident())
        found: list[bytes | None] = []
        try:
            found = run.read(_TURN_SECONDS)
        finally:
            self.watch.end(read, files=len(found))
        return found

    def _limit(self) -> int:
        wanted = 1 + int(self.watch.mean_seconds * _WANTED_RATE)
        return max(2, min(self._most_threads, wanted + self.watch.hanging))  # those that hang are made up for
