"""Resizing: one function, behind which the kernels can change."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from .native import Edges, Resampler, resamplers

_PILLOW = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}
_OPENCV = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}

Box = tuple[float, float, float, float]
"""(top, left, height, width) in pixels of the source, not necessarily whole ones."""


def resize(
    image: NDArray[np.uint8],
    size: tuple[int, int],
    *,
    box: Box | None = None,
    antialias: bool = True,
    interpolation: str = "bilinear",
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """The image (H, W, C), uint8, C 1 or 3, resized to size (height, width); also to and from a single pixel.

    With `antialias` the filter widens with the reduction and the result is Pillow's, to the bit; without it, two (or
    four, "bicubic") neighbours in each direction count, as in OpenCV. "nearest" takes the pixel at each new pixel's
    centre, and has nothing to widen. `box` is the part of the image to take, by default all of it; like Pillow's, an
    antialiased edge of it sees the pixels outside.

    The result is in `out`, a C-contiguous array of its shape, if one is given; otherwise it is a new array, or `image`
    itself where there is nothing to do. Raises ValueError for a box that is not inside the image, or is fractional
    without `antialias`.
    """
    if box is not None:
        _check_box(image, box)
    elif image.shape[:2] == size:
        return _placed(image, out)
    if interpolation == "nearest":
        return _placed(resize_with_pillow(image, size, _edges(image, box), interpolation), out)
    if antialias:
        return _resize_antialiased(image, size, _edges(image, box), interpolation, out)
    return _resize_with_opencv(image, size, box, interpolation, out)


def _resize_antialiased(
    image: NDArray[np.uint8], size: tuple[int, int], edges: Edges, interpolation: str, out: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    if NATIVE is None:
        return _placed(resize_with_pillow(image, size, edges, interpolation), out)
    if out is None:
        out = np.empty((*size, image.shape[2]), np.uint8)
    NATIVE(image, size, edges, interpolation, out)
    return out


def resize_with_pillow(
    image: NDArray[np.uint8], size: tuple[int, int], edges: Edges, interpolation: str
) -> NDArray[np.uint8]:
    """What every antialiased result equals."""
    channels = image.shape[2]
    picture = Image.fromarray(image[:, :, 0] if channels == 1 else image)
    return np.asarray(picture.resize(size[::-1], _PILLOW[interpolation], box=edges)).reshape(*size, channels)


def _resize_with_opencv(
    image: NDArray[np.uint8], size: tuple[int, int], box: Box | None, interpolation: str, out: NDArray[np.uint8] | None
) -> NDArray[np.uint8]:
    if box is not None:
        if any(edge != int(edge) for edge in box):
            raise ValueError(f"box is {box}, expected whole pixels where antialias is False")
        top, left, height, width = map(int, box)
        image = image[top : top + height, left : left + width]
    if out is None:
        out = np.empty((*size, image.shape[2]), np.uint8)
    cv2.resize(image, size[::-1], dst=out, interpolation=_OPENCV[interpolation])
    return out


def _placed(image: NDArray[np.uint8], out: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    if out is None:
        return image
    np.copyto(out, image)
    return out


def _edges(image: NDArray[np.uint8], box: Box | None) -> Edges:
    height, width = image.shape[:2]
    if box is None:
        return 0, 0, width, height
    top, left = box[:2]
    return left, top, min(left + box[3], width), min(top + box[2], height)


def _check_box(image: NDArray[np.uint8], box: Box) -> None:
    top, left, height, width = box
    slack = 1e-6  # of a pixel, for what arithmetic does to a box as large as the image
    inside = (
        top >= 0 and left >= 0 and top + height <= image.shape[0] + slack and left + width <= image.shape[1] + slack
    )
    if not inside or height <= 0 or width <= 0:
        raise ValueError(f"box (top, left, height, width) is {box}, outside an image of {image.shape[:2]}")


def equals_pillow(native: Resampler) -> bool:
    """Whether a few small images come out the same: releases of Pillow have differed in the order of their passes."""
    values = np.arange(40 * 30 * 3, dtype=np.uint32)
    pixels = (values * 2654435761 >> 24).astype(np.uint8).reshape(40, 30, 3)  # Knuth's hash: as good as noise
    cases = (
        (pixels, (12, 16)),  # as much taller as may be, to go across first
        (pixels, (11, 16)),  # taller
        (pixels[:15], (4, 7)),
        (pixels[:9, :9, 1:2], (14, 23)),
    )
    for image, size in cases:
        for interpolation in ("bilinear", "bicubic"):
            edges = (0.25, 0.5, image.shape[1], image.shape[0])
            out = np.empty((*size, image.shape[2]), np.uint8)
            native(image, size, edges, interpolation, out)
            if not np.array_equal(out, resize_with_pillow(image, size, edges, interpolation)):
                return False
    return True


def fastest() -> Resampler | None:
    """The compiled resampling with this processor's best kernel and this Pillow's order of passes, if there is one."""
    candidates = [kernels[-1] for order in (True, False) if (kernels := resamplers(tall_down_first=order))]
    if not candidates:
        return None
    native = next(filter(equals_pillow, candidates), None)
    if native is None:
        message = f"Pillow {PIL.__version__} resizes differently from all that headrace knows, and is used: slower"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    return native


NATIVE = fastest()
"""The compiled resampling, where there is one and it gives what this Pillow gives."""
