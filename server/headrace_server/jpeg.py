"""JPEGs made smaller while they are decoded, which costs a fraction of decoding them in full."""

from __future__ import annotations

import warnings

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from .native import EighthDecoder, eighth_decoder


def decode_smaller(data: bytes, height: int, width: int, factor: int) -> NDArray[np.uint8]:
    """A JPEG of height x width pixels, each side divided by the factor, 2, 4 or 8, and rounded up; at least 8 are left.

    (H, W, 3), uint8, RGB. Each pixel is about the mean of factor times factor. Raises what simplejpeg raises.
    """
    down, across = -(-height // factor), -(-width // factor)
    if factor == 8 and NATIVE is not None:
        image = NATIVE(data, down, across)
        if image is not None:
            return image
    return _with_libjpeg(data, down, across, factor)


def _with_libjpeg(data: bytes, down: int, across: int, factor: int) -> NDArray[np.uint8]:
    # Of all the sizes that libjpeg offers, in eighths, the least that is not below these: this one.
    image: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", min_height=down, min_width=across, min_factor=factor)
    return image


def equals_libjpeg(native: EighthDecoder) -> bool:
    """Whether a few small pictures come out the same: another release of libjpeg-turbo may do something else."""
    values = np.arange(70 * 90 * 3, dtype=np.uint32)
    noise = (values * 2654435761 >> 24).astype(np.uint8).reshape(70, 90, 3)  # Knuth's hash: as good as noise
    for subsampling in ("420", "422", "440", "444", "Gray"):
        data = simplejpeg.encode_jpeg(noise, quality=90, colorsubsampling=subsampling)
        image = native(data, 9, 12)
        if image is None or not np.array_equal(image, _with_libjpeg(data, 9, 12, 8)):
            return False
    return True


def fastest() -> EighthDecoder | None:
    """The compiled decoder, where there is one and it gives what this libjpeg-turbo gives."""
    native = eighth_decoder()
    if native is not None and not equals_libjpeg(native):
        message = (
            f"simplejpeg {simplejpeg.__version__} scales differently from all that headrace knows, and is used: slower"
        )
        warnings.warn(message, RuntimeWarning, stacklevel=2)
        return None
    return native


NATIVE = fastest()
"""For an eighth of a picture's size."""
