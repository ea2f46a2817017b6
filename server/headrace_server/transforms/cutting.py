"""What the first steps of a pipeline make of a picture, told from its size alone: before any of it is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from .base import NO_SAMPLE, Cut, Sample, ScalableStep, Step
from .geometry import CropStep, RandomFlipStep

_SIZES_KEPT = 4096
"""Of pictures, of all plans together: some two megabytes."""


@dataclass(frozen=True)
class Cutting:
    """A step that takes a window of a picture, a crop of what it was resized to, and flips, each if there is one."""

    first: Step
    crop: CropStep | None
    flips: tuple[RandomFlipStep, ...]

    @property
    def count(self) -> int:
        """How many steps that is."""
        return 1 + (self.crop is not None) + len(self.flips)

    def cut(self, height: int, width: int, sample: Sample) -> Cut | None:
        """What becomes of a picture of this size; see `Step.cut`. The sample comes without its labels.

        What the crop does not leave need not be resized, nor even decoded.
        """
        if self._draws_window:
            cut = _window(self.first, self.crop, height, width, sample)
        else:
            cut = _kept_window(self.first, self.crop, height, width)
        if cut is not None:
            for flip in self.flips:
                cut = flip.flip_cut(cut, sample)
        return cut

    @cached_property
    def _draws_window(self) -> bool:
        return self.first.random or (self.crop is not None and self.crop.random)


def cutting_of(steps: Sequence[Step]) -> Cutting | None:
    """As many of the first steps as may be; None where there are none."""
    if not steps or not steps[0].cuts:
        return None
    crop = _crop_behind(steps)
    flips: list[RandomFlipStep] = []
    for step in steps[1 if crop is None else 2 :]:
        if not isinstance(step, RandomFlipStep):
            break
        flips.append(step)
    return Cutting(steps[0], crop, tuple(flips))


def _crop_behind(steps: Sequence[Step]) -> CropStep | None:
    """The second step, where it takes a window of whatever a first one has resized."""
    first, behind = steps[0], steps[1] if len(steps) > 1 else None
    if not isinstance(first, ScalableStep) or not isinstance(behind, CropStep):
        return None
    return behind if behind.always_inside(*first.least) else None


def _window(first: Step, crop: CropStep | None, height: int, width: int, sample: Sample = NO_SAMPLE) -> Cut | None:
    cut = first.cut(height, width, sample)
    if cut is None or crop is None:
        return cut
    return cut._replace(wanted=crop.window(*cut.size, sample))


_kept_window = lru_cache(_SIZES_KEPT)(_window)
"""Where nothing is drawn: datasets have few sizes of pictures, and some have one."""
