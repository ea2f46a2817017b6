"""Which waiting task is the next, so that clients get the same time."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

_REMEMBERED = 1024
"""Clients without tasks whose spending is remembered."""
_SMOOTHING = 0.2
"""Weight of the newest task in a client's mean time for one."""

T = TypeVar("T")


@dataclass
class _Client(Generic[T]):
    """A client's waiting tasks, and the seconds that it has had."""

    name: str
    spent: float
    mean: float = 0.0
    running: int = 0
    tasks: list[tuple[int, int, T]] = field(default_factory=list)
    """A heap: by turn, and those of one turn in the order in which they came."""


class Taken(NamedTuple, Generic[T]):
    """A task whose time has come; `settle` it in the end."""

    task: T
    client: _Client[T]


class FairQueue(Generic[T]):
    """Tasks, of which the next is one of whichever waiting client has had the least time. Not safe to share by itself.

    A client that comes starts level with the least served one, and one that comes back no lower than it stopped, so
    that nobody saves time up or sheds what it had.
    """

    def __init__(self) -> None:
        self.waiting = self.running = 0
        self._clients: dict[str, _Client[T]] = {}
        self._gone: dict[str, float] = {}
        """What clients had spent that have nothing waiting now."""
        self._level = 0.0
        """What the client had spent that was served last, which of those waiting was the least."""
        self._arrivals = itertools.count()

    def put(self, name: str, task: T, turn: int) -> None:
        """Of a client's waiting tasks the one with the least `turn` is the next."""
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = _Client(name, max(self._level, self._gone.pop(name, 0.0)))
        heapq.heappush(client.tasks, (turn, next(self._arrivals), task))
        self.waiting += 1

    def take(self) -> Taken[T]:
        """The next task; there must be one waiting."""
        client = min((client for client in self._clients.values() if client.tasks), key=lambda client: client.spent)
        _, _, task = heapq.heappop(client.tasks)
        self._level = max(self._level, client.spent)
        client.spent += client.mean  # in advance, so that one client is not served alone at once
        client.running += 1
        self.waiting -= 1
        self.running += 1
        return Taken(task, client)

    def settle(self, taken: Taken[T], seconds: float) -> None:
        """A task has ended, and its client is charged for it."""
        client = taken.client
        client.spent += seconds - client.mean
        client.mean += _SMOOTHING * (seconds - client.mean)
        client.running -= 1
        self.running -= 1
        if not client.tasks and not client.running and self._clients.get(client.name) is client:
            del self._clients[client.name]
            self._gone[client.name] = client.spent
            while len(self._gone) > _REMEMBERED:
                self._gone.pop(next(iter(self._gone)))

    def clear(self) -> None:
        """Forgets what waits."""
        self._clients.clear()
        self.waiting = 0
