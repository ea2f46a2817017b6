"""Transforms that change where pixels are: resizing, cropping, mirroring, rotating."""

from __future__ import annotations

import math
from abc import abstractmethod

import cv2
import numpy as np

from headrace_proto import transforms as proto
from headrace_proto.checks import MAX_SIDE
from headrace_server.decode import MAX_PIXELS, Decoded, DecodeError
from headrace_server.resample import resize

from .base import Cut, Image, PlanError, Sample, ScalableStep, Shape, Step, Window
from .windows import cut_out, inception_window, middle, random_start, whole_window

_MARGIN, _LEAST_MARGIN = 1.6, 1.5
"""How many times the result's sides a picture decoded smaller keeps: both of them, or one less if the other is more.

The means that libjpeg takes and the resize's own blur add up. What the means add to it, as a variance, falls with the
square of the margin, and the sum over both directions tells what a picture will differ by from a resize of the whole:
fine textures by 1.7 levels in the mean with 1.6 and 1.6, or 1.5 and 1.75; by 1.3 to 1.6 with 1.5 and 2.5; by 2.1 with
1.5 and 1.5. Photographs differ by 0.3 to 1.0 at 1.67, and by 0.2 to 0.5 at 3.3.
"""
_MOST_BLUR = 2 * _MARGIN**-2 + 1e-9  # for rounding
_LEAST_SIDE = 64
"""Pixels that it keeps in any case: below, there is no time to be won, and a pixel cut by the edge begins to count."""


class ResizeStep(ScalableStep):
    """See `headrace_proto.transforms.Resize`."""

    cuts = True

    def __init__(self, transform: proto.Resize, _index: int) -> None:
        self._transform = transform

    def shape(self, before: Shape) -> Shape:
        size = self._transform.size
        if isinstance(size, tuple):
            return Shape(*size, before.channels)
        if before.height is None or before.width is None:
            if size * size > MAX_PIXELS:
                raise PlanError(f"Resize: size is {size}, which is more than {MAX_PIXELS:,} pixels for every image")
            return Shape(None, None, before.channels)
        return Shape(*_shorter_side(before.height, before.width, size), before.channels)

    @property
    def least(self) -> tuple[int, int]:
        return _pair(self._transform.size)

    def reduction(self, height: int, width: int, _sample: Sample) -> int:
        return _reduction(self._transform, (height, width), self._resized(height, width))

    def apply(self, image: Image, _sample: Sample, out: Image | None, /) -> Image:
        """Raises DecodeError for an image so long and thin that its longer side would exceed what any may have."""
        size = self._checked_size(image.shape[0], image.shape[1])
        return resize(
            image, size, antialias=self._transform.antialias, interpolation=self._transform.interpolation, out=out
        )

    def apply_smaller(self, picture: Decoded, _sample: Sample, out: Image | None, /) -> Image:
        size = self._checked_size(picture.height, picture.width)
        box = picture.place(0, 0, picture.height, picture.width)
        return resize(picture.image, size, box=box, interpolation=self._transform.interpolation, out=out)

    def cut(self, height: int, width: int, sample: Sample) -> Cut | None:
        size = self._resized(height, width)
        if not _means(self._transform) or max(size) > MAX_SIDE or self.reduction(height, width, sample) != 1:
            return None
        return Cut((0, 0, height, width), size, self._transform.interpolation, (0, 0, *size))

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        size = self._transform.size
        return size if isinstance(size, tuple) else _shorter_side(height, width, size)

    def _checked_size(self, height: int, width: int) -> tuple[int, int]:
        size = self._resized(height, width)
        if max(size) > MAX_SIDE:
            raise DecodeError(
                f"{height} x {width} (height x width) is too thin: resized it would be "
                f"{size[0]} x {size[1]}, and no side may exceed {MAX_SIDE}"
            )
        return size


class CropStep(Step):
    """Takes a window out of an image, and does nothing else."""

    cuts = True

    def __init__(self, transform: proto.CenterCrop | proto.RandomCrop) -> None:
        self._size = _pair(transform.size)
        self._fill = transform.fill

    def shape(self, before: Shape) -> Shape:
        return Shape(*self._size, before.channels)

    def apply(self, image: Image, sample: Sample, _out: Image | None, /) -> Image:
        return cut_out(image, self.window(image.shape[0], image.shape[1], sample), self._fill)

    def cut(self, height: int, width: int, sample: Sample) -> Cut | None:
        return whole_window(self.window(height, width, sample), (height, width))

    @abstractmethod
    def window(self, height: int, width: int, sample: Sample) -> Window:
        """What is taken of an image of this size; it may reach beyond it."""

    def always_inside(self, height: int, width: int) -> bool:
        """Whether the window lies inside every image of at least these sides."""
        return height >= self._size[0] and width >= self._size[1]


class CenterCropStep(CropStep):
    """See `headrace_proto.transforms.CenterCrop`."""

    def __init__(self, transform: proto.CenterCrop, _index: int) -> None:
        super().__init__(transform)

    def window(self, height: int, width: int, _sample: Sample) -> Window:
        return middle(height, self._size[0]), middle(width, self._size[1]), *self._size


class RandomCropStep(CropStep):
    """See `headrace_proto.transforms.RandomCrop`."""

    random = True

    def __init__(self, transform: proto.RandomCrop, index: int) -> None:
        super().__init__(transform)
        self._padding = _pair(transform.padding)
        self._index = index

    def window(self, height: int, width: int, sample: Sample) -> Window:
        draws = sample.draws(self._index)
        top, left = (
            random_start(draws, side, cut, padding)
            for side, cut, padding in zip((height, width), self._size, self._padding, strict=True)
        )
        return top, left, *self._size

    def always_inside(self, height: int, width: int) -> bool:
        return self._padding == (0, 0) and super().always_inside(height, width)


class RandomResizedCropStep(ScalableStep):
    """See `headrace_proto.transforms.RandomResizedCrop`."""

    random = True
    cuts = True

    def __init__(self, transform: proto.RandomResizedCrop, index: int) -> None:
        self._transform = transform
        self._size = _pair(transform.size)
        self._index = index

    def shape(self, before: Shape) -> Shape:
        return Shape(*self._size, before.channels)

    @property
    def least(self) -> tuple[int, int]:
        return self._size

    def reduction(self, height: int, width: int, sample: Sample) -> int:
        if _reduction(self._transform, (height, width), self._size) == 1:
            return 1  # then it is for every window, and nothing need be drawn to know
        _, _, down, across = self._window((height, width), sample)
        return _reduction(self._transform, (down, across), self._size)

    def apply(self, image: Image, sample: Sample, out: Image | None, /) -> Image:
        transform = self._transform
        top, left, height, width = self._window((image.shape[0], image.shape[1]), sample)
        window = image[top : top + height, left : left + width]
        return resize(window, self._size, antialias=transform.antialias, interpolation=transform.interpolation, out=out)

    def apply_smaller(self, picture: Decoded, sample: Sample, out: Image | None, /) -> Image:
        box = picture.place(*self._window((picture.height, picture.width), sample))
        top, left, height, width = box
        # Cut out as in `apply`: the resize is to see nothing outside, but for what shares a pixel with the inside.
        above, before = math.floor(top), math.floor(left)
        window = picture.image[above : math.ceil(top + height), before : math.ceil(left + width)]
        box = (top - above, left - before, height, width)
        return resize(window, self._size, box=box, interpolation=self._transform.interpolation, out=out)

    def cut(self, height: int, width: int, sample: Sample) -> Cut | None:
        if not _means(self._transform) or self.reduction(height, width, sample) != 1:
            return None
        window = self._window((height, width), sample)
        return Cut(window, self._size, self._transform.interpolation, (0, 0, *self._size))

    def _window(self, sides: tuple[int, int], sample: Sample) -> Window:
        return inception_window(sample.draws(self._index), sides, self._transform.scale, self._transform.ratio)


class RandomFlipStep(Step):
    """See `headrace_proto.transforms.RandomFlip`."""

    random = True

    def __init__(self, transform: proto.RandomFlip, index: int) -> None:
        self._p = transform.p
        self._is_horizontal = transform.axis == "horizontal"
        self._index = index

    def shape(self, before: Shape) -> Shape:
        return before

    def apply(self, image: Image, sample: Sample, out: Image | None, /) -> Image:
        if not self._flips(sample):
            return image
        out = np.empty(image.shape, np.uint8) if out is None else out
        cv2.flip(image, 1 if self._is_horizontal else 0, dst=out)
        return out

    def flip_cut(self, cut: Cut, sample: Sample) -> Cut:
        """A cut, and behind it what `apply` does."""
        if not self._flips(sample):
            return cut
        if self._is_horizontal:
            return cut._replace(mirrored=not cut.mirrored)
        return cut._replace(upside_down=not cut.upside_down)

    def _flips(self, sample: Sample) -> bool:
        return sample.draws(self._index).chance(self._p)


class RandomRotationStep(Step):
    """See `headrace_proto.transforms.RandomRotation`."""

    random = True

    def __init__(self, transform: proto.RandomRotation, index: int) -> None:
        degrees = transform.degrees
        self._degrees = degrees if isinstance(degrees, tuple) else (-degrees, degrees)
        self._fill = (transform.fill,) * 3
        self._index = index

    def shape(self, before: Shape) -> Shape:
        return before

    def apply(self, image: Image, sample: Sample, out: Image | None, /) -> Image:
        angle = sample.draws(self._index).uniform(*self._degrees)
        height, width = image.shape[:2]
        centre = ((width - 1) / 2, (height - 1) / 2)
        out = np.empty(image.shape, np.uint8) if out is None else out
        turn = cv2.getRotationMatrix2D(centre, angle, 1.0)
        cv2.warpAffine(image, turn, (width, height), dst=out, flags=cv2.INTER_LINEAR, borderValue=self._fill)
        return out


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)


def _means(transform: proto.Resize | proto.RandomResizedCrop) -> bool:
    """Whether each new pixel is a mean of all the old ones that it stands for."""
    return transform.antialias and transform.interpolation != "nearest"


def _reduction(transform: proto.Resize | proto.RandomResizedCrop, sides: tuple[int, int], size: tuple[int, int]) -> int:
    """By what a window of `sides` may be made smaller before it is resized to `size`, both (height, width).

    Without antialiasing nothing may be: it is chosen for the pixels that it picks, and a mean is another look.
    """
    (height, width), (new_height, new_width) = sides, size
    down, across = height / new_height, width / new_width
    room = min(down / _LEAST_MARGIN, across / _LEAST_MARGIN, height / _LEAST_SIDE, width / _LEAST_SIDE)
    if room < 2 or not _means(transform):
        return 1
    blur = down**-2 + across**-2
    return next((factor for factor in (8, 4, 2) if room >= factor and factor**2 * blur <= _MOST_BLUR), 1)


def _shorter_side(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) with `size` as the shorter one; the longer one is rounded down, as torchvision does."""
    if height <= width:
        return size, size * width // height
    return size * height // width, size
