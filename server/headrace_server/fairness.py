"""Threads that share their time fairly between clients."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .fair_queue import FairQueue, Taken
from .logs import logger

Task = Callable[[], None]


class FairPool:
    """Up to `limit()` threads that take the next task from whichever waiting client has had the least time.

    Threads are started when they are first needed. A task handles its own errors; one that escapes is logged.
    """

    def __init__(self, name: str, limit: Callable[[], int], clock: Callable[[], float] = time.perf_counter) -> None:
        """`clock` gives the seconds that tasks are charged: of their threads' work, or of what they wait for, too."""
        self._name, self._limit, self._clock = name, limit, clock
        self._queue: FairQueue[Task] = FairQueue()
        self._threads: list[threading.Thread] = []
        self._idle = self._coming = 0
        self._closed = False
        self._changed = threading.Condition()

    def submit(self, client: str, task: Task, turn: int = 0) -> None:
        """Of a client's waiting tasks the one with the least `turn` is the next."""
        with self._changed:
            self._queue.put(client, task, turn)
            self._wake()

    def nudge(self) -> None:
        """The limit may have risen."""
        with self._changed:
            if self._queue.waiting:
                self._wake()

    def close(self, seconds: float = 60.0) -> None:
        """Lets running tasks end, forgets waiting ones, and waits so long for the threads; one that hangs is left."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _wake(self) -> None:
        """Has one more thread come, unless enough are coming for what waits, or as many run as may."""
        if self._coming >= self._queue.waiting or self._queue.running + self._coming >= self._limit():
            return  # a thread that is running takes the task when it has ended its own
        if self._idle:
            self._idle -= 1
            self._coming += 1
            self._changed.notify()
        elif len(self._threads) < self._limit() and not self._closed:
            self._start()

    def _start(self) -> None:
        """Raises RuntimeError where the system gives no thread, and there is none yet that could take a task."""
        thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise
            return
        self._threads.append(thread)
        self._coming += 1

    def _work(self) -> None:
        with self._changed:
            self._coming -= 1
        while True:
            with self._changed:
                while not self._closed and (not self._queue.waiting or self._queue.running >= self._limit()):
                    self._idle += 1
                    self._changed.wait()
                    self._coming -= 1
                if self._closed:
                    return
                taken = self._queue.take()
                if self._queue.waiting:
                    self._wake()  # the limit may have risen
            self._run(taken)
            del taken  # nothing is held while there is nothing to do

    def _run(self, taken: Taken[Task]) -> None:
        began = self._clock()
        try:
            taken.task()
        except Exception:  # noqa: BLE001 - logged; the thread goes on
            logger.exception("a task failed", pool=self._name)
        with self._changed:
            self._queue.settle(taken, self._clock() - began)
