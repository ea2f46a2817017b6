"""A rank's batches, epoch after epoch: the server begins the next epoch before this one ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .batch import Batch
from .errors import HeadraceError
from .fetch import Fetcher, Frames
from .positions import Position, Slice

_LOOK_AHEAD = 8
"""Batches before an epoch's end at which the next one's stream is opened; a server works so far ahead at least."""


class EpochStream:
    """An epoch's batches from a position on; where workers share them, every `every`-th from `first` on.

    The response can be opened before the batches are wanted.
    """

    def __init__(self, fetcher: Fetcher, start: Position, first: int, every: int) -> None:
        self._fetcher, self._start, self._first, self._every = fetcher, start, first, every
        self._steps = fetcher.sharding.steps(start.samples)
        numbers = range(first, self._steps, every)
        padded = bool(numbers) and self._slice(numbers[-1]).stop > fetcher.sharding.samples
        self._whole, self._padded = (numbers[:-1], numbers[-1:]) if padded else (numbers, numbers[:0])
        self._response = contextlib.ExitStack()
        self._frames: Frames | None = None
        self._failure: HeadraceError | None = None

    def __len__(self) -> int:
        return len(self._whole) + len(self._padded)

    def next_epoch(self) -> EpochStream:
        """The epoch after this one. The workers' turns go on where they end here."""
        turn = (self._first - self._steps) % self._every
        return EpochStream(self._fetcher, Position(self._start.epoch + 1, 0), turn, self._every)

    def open(self) -> None:
        """Has the server begin. What goes wrong is raised where the first batch would have come."""
        try:
            self._opened()
        except HeadraceError as error:
            self._failure = error

    def close(self) -> None:
        self._response.close()

    def __iter__(self) -> Iterator[Batch]:
        if self._failure is not None:
            raise self._failure
        if self._whole:
            with self._response:
                frames = self._opened()
                assert frames is not None
                for k in self._whole:
                    yield self._fetcher.batch(frames, self._slice(k))
                frames.end(self._slice(self._whole[-1]).stop)
        for k in self._padded:  # at most one, filled up with samples from the epoch's beginning
            yield self._fetcher.padded(self._start.epoch, self._slice(k))

    def _opened(self) -> Frames | None:
        if self._frames is None and self._whole:
            first, last = self._slice(self._whole[0]), self._slice(self._whole[-1])
            stream = self._fetcher.stream(self._start.epoch, first.start, last.stop, self._every)
            self._frames = self._response.enter_context(stream)
        return self._frames

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
