"""Where a batch stands in a dataset: all that decides what is in it."""

from __future__ import annotations

from dataclasses import dataclass

from .plans import ResolvedPlan

EpochKey = tuple[str, int]
"""A plan's id and an epoch: what all batches of the same samples have in common."""


@dataclass(frozen=True)
class Address:
    """Positions [start, stop) of one epoch of a plan, and whether the batch's frame has a checksum."""

    plan: ResolvedPlan
    epoch: int
    start: int
    stop: int
    checksum: bool = False

    @property
    def epoch_key(self) -> EpochKey:
        return self.plan.info.id, self.epoch
