"""The arithmetic of positions: which samples of an epoch a rank gets, in which batches. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from headrace_proto import checks

from .errors import UsageError

Tail = Literal["partial", "drop", "pad"]
TAILS = ("partial", "drop", "pad")


class Position(NamedTuple):
    """A place in training, the same on every rank: `samples` of `epoch` have been consumed by all ranks together."""

    epoch: int
    samples: int


class Slice(NamedTuple):
    """A rank's batch: positions [start, stop) of an epoch, and where training stands after it."""

    epoch: int
    start: int
    stop: int
    after: Position


@dataclass(frozen=True)
class Sharding:
    """How the samples of an epoch are dealt to ranks in batches."""

    samples: int
    batch_size: int
    """Samples in a batch of one rank."""
    rank: int = 0
    world_size: int = 1
    tail: Tail = "partial"

    def __post_init__(self) -> None:
        try:
            checks.integer("batch_size", self.batch_size, 1)
            checks.integer("world_size", self.world_size, 1)
            checks.integer("rank", self.rank, 0, self.world_size - 1)
            checks.one_of("tail", self.tail, TAILS)
        except ValueError as error:
            raise UsageError(str(error)) from error

    @cached_property
    def step(self) -> int:
        """Samples that all ranks consume together in one step."""
        return self.batch_size * self.world_size

    def steps(self, start: int = 0) -> int:
        """How many batches this rank gets from position `start` to the epoch's end."""
        left = max(0, self.samples - start)
        if self.tail == "drop":
            return left // self.step
        if self.tail == "pad":
            return -(-left // self.step)
        mine = max(0, left - self.rank * self.batch_size)
        return -(-mine // self.step)

    def slice(self, epoch: int, start: int, k: int) -> Slice:
        """The rank's batch k from position `start` on. In "pad" it may reach beyond the samples; see `pieces`."""
        first = start + k * self.step + self.rank * self.batch_size
        stop = first + self.batch_size
        if self.tail == "partial":
            stop = min(stop, self.samples)
        last = k + 1 == self.steps(start)
        after = Position(epoch + 1, 0) if last else Position(epoch, start + (k + 1) * self.step)
        return Slice(epoch, first, stop, after)

    def pieces(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The positions [start, stop) as slices within the epoch: position p >= N holds the sample of p mod N."""
        pieces = []
        while start < stop:
            first = start % self.samples
            last = min(first + stop - start, self.samples)
            pieces.append((first, last))
            start += last - first
        return pieces


def normal(position: Position, samples: int) -> Position:
    """(e, N) is written (e + 1, 0)."""
    return Position(position.epoch + 1, 0) if position.samples >= samples else position
