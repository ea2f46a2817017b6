"""What every step of a pipeline is: a function of an image and a sample, and of shapes before any image is there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace_server.decode import Decoded
from headrace_server.draws import Draws

Image = NDArray[np.uint8]
"""(height, width, channels), uint8; rows may lie apart, as in a crop."""


class PlanError(ValueError):
    """A plan's transforms cannot be carried out; the message says what to change, for whoever wrote the plan."""


class TransformError(ValueError):
    """A transform failed on a sample, or did not do what it declared. Never a matter of the image's content alone."""


class Shape(NamedTuple):
    """What is known of an image's shape before it is read; None is a side that differs from image to image."""

    height: int | None
    width: int | None
    channels: int


class Sample(NamedTuple):
    """The sample that an image belongs to, for the steps that draw or look at labels."""

    labels: Mapping[str, Any]
    seed: int
    epoch: int
    number: int

    def draws(self, stream: int) -> Draws:
        """The random generator of one step; steps at different places in a plan have unrelated ones."""
        return Draws(self.seed, self.epoch, self.number, stream)


NO_SAMPLE = Sample({}, 0, 0, 0)
"""For the steps that look at none."""

Window = tuple[int, int, int, int]
"""(top, left, height, width), in pixels."""


class Cut(NamedTuple):
    """A window of a picture, the (height, width) that it is resized to, antialiased, if at all, and a part of that.

    That part may be mirrored then, from left to right, or turned upside down.
    """

    window: Window
    size: tuple[int, int]
    interpolation: str
    """See `headrace_server.resample.resize`."""
    wanted: Window
    mirrored: bool = False
    upside_down: bool = False


class Step(ABC):
    """A transform made ready to run. Immutable, and safe to use from several threads at once."""

    random = False
    """Whether the result depends on seed, epoch and sample."""
    cuts = False
    """Whether there are pictures of which `cut` says something."""

    @abstractmethod
    def shape(self, before: Shape) -> Shape:
        """The shape that `apply` gives for an image of shape `before`. Raises PlanError."""

    @abstractmethod
    def apply(self, image: Image, sample: Sample, out: Image | None, /) -> Image:
        """The image transformed; it may be a view of the one given, which is never written to.

        `out`, where given, is a C-contiguous array of the result's shape into which the result may be put.
        """

    def cut(self, height: int, width: int, sample: Sample) -> Cut | None:
        """What `apply` does to a picture of this size, where it does nothing else and needs the picture in full.

        The sample comes without its labels.
        """
        return None


class ScalableStep(Step):
    """A step that needs no more pixels than it gives: where it comes first, a picture may be decoded smaller for it."""

    @property
    @abstractmethod
    def least(self) -> tuple[int, int]:
        """The least height and width that `apply` gives."""

    @abstractmethod
    def reduction(self, height: int, width: int, sample: Sample) -> int:
        """By what a picture of this size may be made smaller, at the same look; see `headrace_server.decode.Reduction`.

        The sample comes without its labels.
        """

    @abstractmethod
    def apply_smaller(self, picture: Decoded, sample: Sample, out: Image | None, /) -> Image:
        """What `apply` gives for the picture in full, from the picture made smaller."""
