"""Resizing: one function, behind which the kernels can change."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
    if antialias or interpolation == "nearest":
        return _placed(_resize_with_pillow(image, size, box, interpolation), out)
    return _resize_with_opencv(image, size, box, interpolation, out)


def _resize_with_pillow(
    image: NDArray[np.uint8], size: tuple[int, int], box: Box | None, interpolation: str
) -> NDArray[np.uint8]:
    height, width, channels = image.shape
    edges = None
    if box is not None:
        top, left = box[:2]
        edges = (left, top, min(left + box[3], width), min(top + box[2], height))
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


def _check_box(image: NDArray[np.uint8], box: Box) -> None:
    top, left, height, width = box
    slack = 1e-6  # of a pixel, for what arithmetic does to a box as large as the image
    inside = (
        top >= 0 and left >= 0 and top + height <= image.shape[0] + slack and left + width <= image.shape[1] + slack
    )
    if not inside or height <= 0 or width <= 0:
        raise ValueError(f"box (top, left, height, width) is {box}, outside an image of {image.shape[:2]}")
