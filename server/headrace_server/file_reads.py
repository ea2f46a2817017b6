"""Files read for whoever waits for them, by threads that need no turn of the interpreter's."""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .fair_queue import FairQueue, Taken
from .logs import logger
from .native import Outcome, ReadThreads
from .read_watch import ReadUnderWay, ReadWatch
from .sources.folder import File

_PATIENCE = 1 / 16
"""Of the time that a read takes: so long one that has ended waits for others, that all of them are taken at once."""


@dataclass(frozen=True, slots=True)
class FileRead:
    """A file that is wanted, and what becomes of it."""

    file: File
    row: int
    wanted: Callable[[], bool]
    """Whether it is still wanted, asked before it is read."""
    late: Callable[[], None]
    """See `ReadWatch.begin`."""
    done: Callable[[dict[int, bytes | None]], None]
    """Takes files' bytes by row; None if they are not those that were indexed, or could not be had."""


@dataclass(slots=True)
class _Submitted:
    """A read that was handed to the threads."""

    taken: Taken[FileRead]
    read: ReadUnderWay | None = None
    """None while it waits for a thread."""


class FileReads:
    """Reads up to `limit()` files at once, shared fairly between clients. Safe to use from many threads.

    For the time that a read takes, a thread of Python's would be woken, and wait for the interpreter's lock, several
    times. These here are C's, and one of Python's takes what they have read, all that there is at a time.
    """

    def __init__(self, threads: ReadThreads, watch: ReadWatch, limit: Callable[[], int]) -> None:
        self._threads, self._watch, self._limit = threads, watch, limit
        self._queue: FairQueue[FileRead] = FairQueue()
        self._submitted: dict[int, _Submitted] = {}
        self._behind: deque[int] = deque()
        """Those that wait for a thread, in their order."""
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._closed = False
        threading.Thread(target=self._collect, name="headrace-files", daemon=True).start()

    def submit(self, client: str, reads: list[FileRead], turn: int = 0) -> None:
        """Of a client's waiting reads those with the least `turn` are the next."""
        with self._lock:
            if self._closed:
                return
            for read in reads:
                self._queue.put(client, read, turn)
        self.nudge()

    def nudge(self) -> None:
        """Begins as many reads as may be; the limit may have risen."""
        with self._lock:
            refused = [] if self._closed else self._submit_more()
        _tell((read, None) for read in refused)

    def close(self) -> None:
        """Forgets all reads: nobody is told any more."""
        with self._lock:
            self._queue.clear()
            if not self._closed:
                self._threads.close()
            self._closed = True

    def _submit_more(self) -> list[FileRead]:
        """Hands as many reads to the threads as may be; gives those back that cannot be."""
        refused = []
        most = self._limit()
        # A few more than there are threads: a thread that has ended one then finds the next, and is not woken for it.
        while self._queue.waiting and self._queue.running < most + most // 4:
            taken = self._queue.take()
            wanted = taken.task.wanted()
            if not wanted or not self._submit(taken, most):
                self._queue.settle(taken, 0.0)
                refused += [taken.task] if wanted else []
        return refused

    def _submit(self, taken: Taken[FileRead], most_threads: int) -> bool:
        number = next(self._numbers)
        try:
            if not self._threads.submit(most_threads, *taken.task.file, number):
                return False
        except Exception:  # noqa: BLE001 - reading it in Python says what is wrong
            return False
        self._submitted[number] = _Submitted(taken)
        self._behind.append(number)
        if len(self._submitted) - len(self._behind) < most_threads:
            self._begin_next()
        return True

    def _begin_next(self) -> None:
        """A thread has taken the read that waited for longest."""
        submitted = self._submitted[self._behind.popleft()]
        submitted.read = self._watch.begin(submitted.taken.task.late, None)

    def _collect(self) -> None:
        for outcomes in self._threads.collect(lambda: self._watch.mean_seconds * _PATIENCE):
            self._pass_on(outcomes)
            del outcomes  # nothing is held while there is nothing to do

    def _pass_on(self, outcomes: list[Outcome]) -> None:
        with self._lock:
            ended = [(self._end(outcome), outcome.data) for outcome in outcomes]
            refused = [] if self._closed else self._submit_more()
        _tell(ended)
        _tell((read, None) for read in refused)

    def _end(self, outcome: Outcome) -> FileRead:
        submitted = self._submitted[outcome.id]
        if submitted.read is None:  # the threads were more than was thought
            self._behind.remove(outcome.id)
        else:
            self._watch.end(submitted.read, outcome.seconds)
            if self._behind:
                self._begin_next()
        del self._submitted[outcome.id]
        self._queue.settle(submitted.taken, outcome.seconds)
        return submitted.taken.task


def _tell(ended: Iterable[tuple[FileRead, bytes | None]]) -> None:
    """Tells everybody of all that is theirs at once."""
    found: defaultdict[Callable[[dict[int, bytes | None]], None], dict[int, bytes | None]] = defaultdict(dict)
    for read, data in ended:
        found[read.done][read.row] = data
    for done, files in found.items():
        try:
            done(files)
        except Exception:  # noqa: BLE001 - logged; the others are told
            logger.exception("what was read could not be taken")
