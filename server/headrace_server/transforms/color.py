"""Transforms that change what colours pixels have."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from headrace_proto import transforms as proto

from .base import Image, Sample, Shape, Step

# Pillow's weights, in 65536ths, with half of one to round. Every sum has at most 24 bits, so float32 holds it exactly.
_LUMA = np.array([[19595, 38470, 7471, 32768]], np.float32) / 65536
_STRIP_PIXELS = 2**18
_VALUES = np.arange(256)
_TRUNCATE = -0.498
"""Makes rounding to the nearest round down, as Pillow's blending does."""


class GrayscaleStep(Step):
    """See `headrace_proto.transforms.Grayscale`."""

    def __init__(self, transform: proto.Grayscale, _index: int) -> None:
        self._channels = transform.channels

    def shape(self, before: Shape) -> Shape:
        return before._replace(channels=self._channels)

    def apply(self, image: Image, _sample: Sample, _out: Image | None, /) -> Image:
        gray = luma(image)
        return gray[:, :, np.newaxis] if self._channels == 1 else _three(gray)


class ColorJitterStep(Step):
    """See `headrace_proto.transforms.ColorJitter`. An image of one channel has no saturation and no hue to change."""

    random = True

    def __init__(self, transform: proto.ColorJitter, index: int) -> None:
        ranges = (
            _factors(transform.brightness, 1.0),
            _factors(transform.contrast, 1.0),
            _factors(transform.saturation, 1.0),
            _factors(transform.hue, 0.0),
        )
        self._changes = [(change, *bounds) for change, bounds in zip(_CHANGES, ranges, strict=True) if bounds]
        self._index = index

    def shape(self, before: Shape) -> Shape:
        return before

    def apply(self, image: Image, sample: Sample, _out: Image | None, /) -> Image:
        draws = sample.draws(self._index)
        factors = [draws.uniform(low, high) for _, low, high in self._changes]
        for number in draws.permutation(len(factors)):
            image = self._changes[number][0](image, factors[number])
        return image


def luma(image: Image) -> NDArray[np.uint8]:
    """The brightness (H, W) of an image (H, W, 1 or 3), to the bit what Pillow's `convert("L")` gives (ITU-R 601-2)."""
    height, width, channels = image.shape
    if channels == 1:
        return image[:, :, 0]
    gray = np.empty((height, width), np.uint8)
    rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, rows):  # in strips, to bound the memory for floats
        strip = image[top : top + rows].astype(np.float32)
        gray[top : top + rows] = cv2.transform(strip, _LUMA).reshape(strip.shape[:2])
    return gray


def brightness(image: Image, factor: float) -> Image:
    """Blended with black: 0 is black, 1 the image, 2 twice as bright."""
    return _blend_with_level(image, 0, factor)


def contrast(image: Image, factor: float) -> Image:
    """Blended with the mean of the image's gray: 0 is that, 1 the image, 2 twice the contrast."""
    return _blend_with_level(image, int(cv2.mean(luma(image))[0] + 0.5), factor)


def saturation(image: Image, factor: float) -> Image:
    """Blended with the gray image: 0 is gray, 1 the image. Within one level of what Pillow gives."""
    if image.shape[2] == 1:
        return image
    result = np.empty(image.shape, np.uint8)
    cv2.addWeighted(image, factor, _three(luma(image)), 1.0 - factor, _TRUNCATE, dst=result)
    return result


def hue(image: Image, turns: float) -> Image:
    """Every hue moved on by a share of the colour circle, in whole steps of HSV's 8 bits, as in Pillow."""
    if image.shape[2] == 1:
        return image
    table = np.stack([_VALUES + int(turns * 255), _VALUES, _VALUES], axis=-1).astype(np.uint8).reshape(1, 256, 3)
    result = np.empty(image.shape, np.uint8)
    cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL, dst=result)
    cv2.LUT(result, table, dst=result)
    cv2.cvtColor(result, cv2.COLOR_HSV2RGB_FULL, dst=result)
    return result


_CHANGES: tuple[Callable[[Image, float], Image], ...] = (brightness, contrast, saturation, hue)


def _blend_with_level(image: Image, level: int, factor: float) -> Image:
    """level + factor * (value - level), cut off to whole numbers from 0 to 255, in Pillow's precision."""
    table = np.float32(level) + np.float32(factor) * (_VALUES - level).astype(np.float32)
    result = np.empty(image.shape, np.uint8)
    cv2.LUT(image, table.clip(0, 255).astype(np.uint8), dst=result)
    return result


def _three(gray: NDArray[np.uint8]) -> Image:
    result = np.empty((*gray.shape, 3), np.uint8)
    cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB, dst=result)
    return result


def _factors(value: float | tuple[float, float], neutral: float) -> tuple[float, float] | None:
    """The least and greatest factor, or None if there is nothing to change."""
    if isinstance(value, tuple):
        low, high = value
    else:
        low, high = neutral - value, neutral + value
        low = max(low, 0.0) if neutral else low
    return None if low == high == neutral else (low, high)
