"""How many samples of an epoch may be replaced because they cannot be decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .batch import Batch
from .errors import TooManyReplaced
from .state import State

Elsewhere = Callable[[int, int], int]
"""Told an epoch and how many of its samples were replaced here, says how many were in other workers of this rank."""


def nowhere(epoch: int, replaced: int) -> int:
    """There are no other workers."""
    return 0


@dataclass(frozen=True)
class Budget:
    """A share of the samples of an epoch.

    A rank counts those that it got itself, so several ranks together may get more before one of them raises; but how
    many ranks there are never makes a run fail that would not with one.
    """

    share: float
    samples: int

    def watch(self, batches: Iterator[Batch], start: State, elsewhere: Elsewhere = nowhere) -> Iterator[Batch]:
        """The batches, each with the count so far. Raises TooManyReplaced in place of the one that exceeds the budget.

        The count goes on from that of `start`, and begins anew with every epoch.
        """
        epoch, before, here = start.position.epoch, start.replaced, 0
        for batch in batches:
            if batch.replaced:
                here += len(batch.replaced)
                self._check(before + here + elsewhere(epoch, here), epoch, batch)
            if batch.end.epoch != epoch:
                epoch, before, here = batch.end.epoch, 0, 0
            batch.replaced_in_epoch = before + here
            yield batch

    def _check(self, replaced: int, epoch: int, batch: Batch) -> None:
        if replaced > self.share * self.samples:
            last = batch.replaced[-1]
            raise TooManyReplaced(
                f"{replaced} of the {self.samples:,} samples of epoch {epoch} could not be decoded and had to be "
                f"replaced, more than the budget of {self.share:.2%}; the last is {last.key}: {last.reason}. Mend the "
                "data, or allow more with replace_budget="
            )
