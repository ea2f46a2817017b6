"""JPEGs to pixels, libjpeg-turbo's, by the fastest way: in full, or made smaller, which costs a fraction of it."""

from __future__ import annotations

import warnings

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from .native import EighthDecoder, JpegDecoder, eighth_decoder, jpeg_decoder


def decode_jpeg(data: bytes, height: int, width: int, factor: int = 1) -> NDArray[np.uint8]:
    """A JPEG of height x width pixels, each side divided by the factor, 1, 2, 4 or 8, and rounded up.

    (H, W, 3), uint8, RGB. Each pixel is about the mean of factor times factor; made smaller, it has at least 8 a side.
    Raises what simplejpeg raises.
    """
    image = None
    if factor == 8 and EIGHTH is not None:
        image = EIGHTH(data, -(-height // 8), -(-width // 8))
    elif NATIVE is not None:
        image = NATIVE(data, height, width, factor)
    return by_libjpeg(data, height, width, factor) if image is None else image


def by_libjpeg(data: bytes, height: int, width: int, factor: int) -> NDArray[np.uint8]:
    """As `decode_jpeg`, by libjpeg-turbo alone."""
    # Of all the sizes that libjpeg offers, in eighths, the least that is not below these: this one.
    down, across = (-(-height // factor), -(-width // factor)) if factor > 1 else (0, 0)
    image: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", min_height=down, min_width=across, min_factor=factor)
    return image


def equals_libjpeg(native: JpegDecoder, factors: tuple[int, ...]) -> bool:
    """Whether a few small pictures come out the same: another release of libjpeg-turbo may do something else."""
    values = np.arange(70 * 90 * 3, dtype=np.uint32)
    noise = (values * 2654435761 >> 24).astype(np.uint8).reshape(70, 90, 3)  # Knuth's hash: as good as noise
    for subsampling in ("420", "422", "440", "444", "Gray"):
        data = simplejpeg.encode_jpeg(noise, quality=90, colorsubsampling=subsampling)
        for factor in factors:
            image = native(data, 70, 90, factor)
            if image is None or not np.array_equal(image, by_libjpeg(data, 70, 90, factor)):
                return False
    return True


def fastest_eighth() -> EighthDecoder | None:
    """The compiled decoder, where there is one and it gives what this libjpeg-turbo gives."""
    native = eighth_decoder()
    if native is None or equals_libjpeg(lambda data, _height, _width, _factor: native(data, 9, 12), (8,)):
        return native
    _warn()
    return None


def fastest() -> JpegDecoder | None:
    """As `fastest_eighth`, for the other factors."""
    native = jpeg_decoder()
    if native is None or equals_libjpeg(native, (1, 2, 4)):
        return native
    _warn()
    return None


def _warn() -> None:
    version = simplejpeg.__version__
    message = f"simplejpeg {version} decodes otherwise than all that headrace knows, and is used: slower"
    warnings.warn(message, RuntimeWarning, stacklevel=3)


EIGHTH = fastest_eighth()
NATIVE = fastest()
