"""A rank's batches, epoch after epoch: the server begins the next epoch before this one ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

from .batch import Batch
from .endpoint import Endpoint
from .errors import HeadraceError
from .failover import Failover
from .fetch import Fetcher
from .lanes import LaneFailed, Lanes, failures_of
from .positions import Position, Slice

_LOOK_AHEAD = 8
"""Batches before an epoch's end at which the next one's stream is opened; a server works so far ahead at least."""


class EpochStream:
    """An epoch's batches from a position on; where workers share them, every `every`-th from `first` on.

    The streams can be opened before the batches are wanted. Where a server fails, others go on from the batch that is
    wanted next: what was received stays, and nothing comes twice.
    """

    def __init__(self, fetcher: Fetcher, start: Position, first: int, every: int) -> None:
        self._fetcher, self._start, self._first, self._every = fetcher, start, first, every
        self._failover = Failover(fetcher.servers, lambda: fetcher.stopped)
        self._steps = fetcher.sharding.steps(start.samples)
        numbers = range(first, self._steps, every)
        padded = bool(numbers) and self._slice(numbers[-1]).stop > fetcher.sharding.samples
        self._whole, self._padded = (numbers[:-1], numbers[-1:]) if padded else (numbers, numbers[:0])
        self._lanes: Lanes | None = None

    def __len__(self) -> int:
        return len(self._whole) + len(self._padded)

    def next_epoch(self) -> EpochStream:
        """The epoch after this one. The workers' turns go on where they end here."""
        turn = (self._first - self._steps) % self._every
        return EpochStream(self._fetcher, Position(self._start.epoch + 1, 0), turn, self._every)

    def open(self) -> None:
        """Has the servers begin. What goes wrong is tried again when the first batch is wanted."""
        endpoints = self._fetcher.servers.each()
        if self._whole and endpoints:
            with contextlib.suppress(LaneFailed, HeadraceError):
                self._lanes = self._opened(endpoints, 0)

    def close(self) -> None:
        if self._lanes is not None:
            self._lanes.close()
            self._lanes = None

    def __iter__(self) -> Iterator[Batch]:
        for done in range(len(self._whole)):
            yield self._until_done(self._whole[done], partial(self._next, done))
        if self._lanes is not None:
            self._lanes.finish()
            self._lanes = None
        for k in self._padded:  # at most one, filled up with samples from the epoch's beginning
            yield self._until_done(k, partial(self._filled_up, self._slice(k)))

    def _until_done(self, k: int, attempt: Callable[[list[Endpoint]], tuple[Endpoint, Batch]]) -> Batch:
        """Batch k, from whichever servers can give it. Raises what the last of them said."""
        while True:
            endpoints = self._failover.endpoints(self._at(k)) if self._lanes is None else []
            try:
                endpoint, batch = attempt(endpoints)
            except LaneFailed as failure:
                self.close()
                self._failover.failed(failure)
            else:
                self._failover.worked(endpoint)
                return batch

    def _next(self, done: int, endpoints: list[Endpoint]) -> tuple[Endpoint, Batch]:
        up = self._fetcher.servers.each()
        if self._lanes is not None and self._others_are_up(up, self._lanes):
            self.close()
            endpoints = up
        if self._lanes is None:
            self._lanes = self._opened(endpoints, done)
        return self._lanes.next_batch()

    @staticmethod
    def _others_are_up(up: list[Endpoint], lanes: Lanes) -> bool:
        """Whether a server has come back, or was set aside, while others go on."""
        return bool(up) and (len(lanes) < min(len(up), lanes.left) or not set(up).issuperset(lanes.endpoints))

    def _filled_up(self, place: Slice, endpoints: list[Endpoint]) -> tuple[Endpoint, Batch]:
        with failures_of(endpoints[0]):
            return endpoints[0], self._fetcher.padded(endpoints[0], place)

    def _opened(self, endpoints: list[Endpoint], done: int) -> Lanes:
        numbers = self._whole[done:]
        stride = self._fetcher.sharding.step * self._every
        return Lanes(self._fetcher, endpoints, lambda i: self._slice(numbers[i]), len(numbers), stride)

    def _at(self, k: int) -> Position:
        return Position(self._start.epoch, self._slice(k).start)

    def _slice(self, k: int) -> Slice:
        return self._fetcher.sharding.slice(self._start.epoch, self._start.samples, k)


def epochs(fetcher: Fetcher, start: Position, last: int | None, first: int, every: int) -> Iterator[Batch]:
    """The batches of epoch after epoch, up to the epoch `last`, or for ever where it is None."""
    current: EpochStream | None = EpochStream(fetcher, start, first, every)
    epoch, upcoming = start.epoch, None
    try:
        while current is not None:
            following = current.next_epoch() if last is None or epoch < last else None
            for number, batch in enumerate(current, 1):
                if following is not None and upcoming is None and number >= len(current) - _LOOK_AHEAD:
                    upcoming = following
                    upcoming.open()
                yield batch
            current, upcoming, epoch = following, None, epoch + 1
    finally:
        for stream in (current, upcoming):
            if stream is not None:
                stream.close()
