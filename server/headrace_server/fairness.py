"""Threads that share their time fairly between clients."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .logs import logger

Task = Callable[[], None]

_REMEMBERED = 1024
"""Clients without tasks whose spending is remembered."""
_SMOOTHING = 0.2
"""Weight of the newest task in a client's mean time for one."""


@dataclass
class _Client:
    """A client's waiting tasks, and the seconds of thread time that it has had."""

    spent: float
    mean: float = 0.0
    running: int = 0
    tasks: list[tuple[int, int, Task]] = field(default_factory=list)
    """A heap: by turn, and those of one turn in the order in which they came."""


class FairPool:
    """Up to `limit()` threads that take the next task from whichever waiting client has had the least time.

    A client that comes starts level with the least served one, and one that comes back no lower than it stopped, so
    that nobody saves time up or sheds what it had.
    Threads are started when they are first needed. A task handles its own errors; one that escapes is logged.
    """

    def __init__(self, name: str, limit: Callable[[], int], clock: Callable[[], float] = time.perf_counter) -> None:
        """`clock` gives the seconds that tasks are charged: of their threads' work, or of what they wait for, too."""
        self._name, self._limit, self._clock = name, limit, clock
        self._clients: dict[str, _Client] = {}
        self._gone: dict[str, float] = {}
        """What clients had spent that have nothing waiting now."""
        self._level = 0.0
        """What the client had spent that was served last, which of those waiting was the least."""
        self._arrivals = itertools.count()
        self._threads: list[threading.Thread] = []
        self._idle = self._coming = self._running = self._waiting = 0
        self._closed = False
        self._changed = threading.Condition()

    def submit(self, client: str, task: Task, turn: int = 0) -> None:
        """Of a client's waiting tasks the one with the least `turn` is the next."""
        with self._changed:
            entry = self._clients.get(client)
            if entry is None:
                spent = max(self._level, self._gone.pop(client, 0.0))
                entry = self._clients[client] = _Client(spent)
            heapq.heappush(entry.tasks, (turn, next(self._arrivals), task))
            self._waiting += 1
            self._wake()

    def nudge(self) -> None:
        """The limit may have risen."""
        with self._changed:
            if self._waiting:
                self._wake()

    def close(self, seconds: float = 60.0) -> None:
        """Lets running tasks end, forgets waiting ones, and waits so long for the threads; one that hangs is left."""
        with self._changed:
            self._closed = True
            self._clients.clear()
            self._changed.notify_all()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _wake(self) -> None:
        """Has one more thread come, unless enough are coming for what waits, or as many run as may."""
        if self._coming >= self._waiting or self._running + self._coming >= self._limit():
            return  # a thread that is running takes the task when it has ended its own
        if self._idle:
            self._idle -= 1
            self._coming += 1
            self._changed.notify()
        elif len(self._threads) < self._limit() and not self._closed:
            self._coming += 1
            thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        with self._changed:
            self._coming -= 1
        while True:
            with self._changed:
                while not self._closed and (not self._waiting or self._running >= self._limit()):
                    self._idle += 1
                    self._changed.wait()
                    self._coming -= 1
                if self._closed:
                    return
                name, client, task = self._take()
                if self._waiting:
                    self._wake()  # the limit may have risen
            began = self._clock()
            try:
                task()
            except Exception:  # noqa: BLE001 - logged; the thread goes on
                logger.exception("a task failed", pool=self._name)
            with self._changed:
                self._settle(name, client, self._clock() - began)

    def _take(self) -> tuple[str, _Client, Task]:
        name, client = min(
            ((name, client) for name, client in self._clients.items() if client.tasks), key=lambda item: item[1].spent
        )
        _, _, task = heapq.heappop(client.tasks)
        self._level = max(self._level, client.spent)
        client.spent += client.mean  # in advance, so that one client does not get all threads at once
        client.running += 1
        self._waiting -= 1
        self._running += 1
        return name, client, task

    def _settle(self, name: str, client: _Client, seconds: float) -> None:
        client.spent += seconds - client.mean
        client.mean += _SMOOTHING * (seconds - client.mean)
        client.running -= 1
        self._running -= 1
        if not client.tasks and not client.running and self._clients.get(name) is client:
            del self._clients[name]
            self._gone[name] = client.spent
            while len(self._gone) > _REMEMBERED:
                self._gone.pop(next(iter(self._gone)))
