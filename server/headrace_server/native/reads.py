"""Files read without the interpreter's lock in C: see reads.c."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .buffers import address_of_bytes, keep, let_go, new_bytes
from .loading import loaded

_MOST_AT_ONCE = 64
_LONGEST_PATIENCE = 0.9


class _Outcome(ctypes.Structure):
    """See reads.c."""

    _fields_ = (("id", ctypes.c_int64), ("seconds", ctypes.c_double), ("whole", ctypes.c_int64))


@dataclass(frozen=True)
class Outcome:
    """A read that has ended, by its id: the file's bytes, None if it was not as wanted, and how long it took."""

    id: int
    data: bytes | None
    seconds: float


class ReadThreads:
    """Threads that read files. `submit` and `close` are to be called by one thread at a time, `collect` by one only."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Raises MemoryError."""
        self._library = library
        self._reads = library.headrace_reads()
        if not self._reads:
            raise MemoryError("no memory to read files")
        # A short call, but for the first ones, which start threads; letting go of the lock would cost more.
        self._submit = ctypes.PyDLL(library._name).headrace_reads_submit
        self._submit.argtypes = library.headrace_reads_submit.argtypes
        self._buffers: dict[int, bytes] = {}

    def submit(self, most_threads: int, path: bytes, size: int, mtime_ns: int, number: int) -> bool:
        """Has the file read under this id. False if that is not possible now. Raises MemoryError.

        Reads begin in the order in which they were submitted.
        """
        if b"\0" in path:
            return False
        data = self._buffers[number] = new_bytes(None, size)
        keep(data)  # also while the interpreter ends, and a thread still reads
        if self._submit(self._reads, most_threads, path, address_of_bytes(data), size, mtime_ns, number):
            let_go(self._buffers.pop(number))
            return False
        return True

    def collect(self, patience: Callable[[], float]) -> Iterator[list[Outcome]]:
        """Waits for reads that have ended, some at a time, until `close` is called.

        The first of them waits so many seconds, up to a second, for others.
        """
        outcomes = (_Outcome * _MOST_AT_ONCE)()
        while count := self._library.headrace_reads_collect(
            self._reads, outcomes, _MOST_AT_ONCE, int(min(patience(), _LONGEST_PATIENCE) * 1e9)
        ):
            yield [self._ended(outcome) for outcome in outcomes[:count]]

    def close(self) -> None:
        """Begins no more reads. Nothing may be submitted any more; reads under way are forgotten."""
        self._library.headrace_reads_close(self._reads)

    def _ended(self, outcome: _Outcome) -> Outcome:
        data = self._buffers.pop(outcome.id)
        let_go(data)
        return Outcome(outcome.id, data if outcome.whole else None, outcome.seconds)


def read_threads() -> ReadThreads | None:
    """None where the library was not compiled."""
    library = loaded()
    return None if library is None else ReadThreads(library)
