"""Decoding: the bytes of an image file to pixels, the same whichever decoder does it.

JPEG, most of what is trained on, goes through libjpeg-turbo by itself, which is bit for bit what Pillow gives from the
same library and costs a fraction of Pillow's time under the interpreter's lock. Everything else, and every JPEG that is
in some way out of the ordinary, goes through Pillow, whose picture is the one that counts.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import struct
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin, _imaging, features

from .claims import jpeg_excess, tiff_excess, tiff_tile, webp_size
from .jpeg import decode_jpeg
from .orientation import ORIENTATION_TAG, JpegHeader, begins_late, jpeg_header, upright, upright_size

MAX_PIXELS = 100_000_000
"""Height times width; an image with more is refused unread. It takes 300 MB decoded, and up to 2.6 GB meanwhile.

That is 26 bytes a pixel, for WebP; PNG, TIFF and progressive JPEG take 14.
"""
MAX_FILE_BYTES = 256 * 2**20
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

_JPEG = b"\xff\xd8\xff"
_SIGNATURES = (
    (_JPEG, "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    *((prefix, "TIFF") for prefix in TiffImagePlugin.PREFIXES),
)
_NO_MEMORY = ("codec configuration error", "out of memory")
"""What Pillow says of a PNG where zlib cannot begin, for which it only needs memory, or cannot go on."""
_UNREADABLE_EXIF = (struct.error, SyntaxError, ValueError, TypeError, KeyError, IndexError, OSError, ZeroDivisionError)


def _settle_libraries() -> None:
    """What can be set only for the whole process, once.

    Images are bounded by `decode` itself. What Pillow and libtiff have to say about a file is in the error, or does not
    matter, and they would log or print it. While OpenCV works on one image, the other cores have images of their own.
    """
    Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    with contextlib.suppress(AttributeError, OSError):  # a Pillow with libtiff built in, or without it
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
    cv2.setNumThreads(1)


_settle_libraries()


class DecodeError(ValueError):
    """The content is not an image that can be decoded in full. `reason` says what was found."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Bounds(NamedTuple):
    """What is refused before it costs memory: images of more pixels unpacked, files of more bytes unread."""

    pixels: int = MAX_PIXELS
    file_bytes: int = MAX_FILE_BYTES


class Decoded(NamedTuple):
    """A picture, in full or smaller: each pixel of `image` is the mean of `factor` times `factor` of the picture."""

    image: NDArray[np.uint8]
    """(ceil(height / factor), ceil(width / factor), 3); otherwise as `decode` gives it."""
    height: int
    """Of the picture in full, in pixels, as is the width."""
    width: int
    factor: int = 1
    top: float = 0.0
    """Where in `image` the picture begins, in its pixels; below 1, and not 0 only where it was turned."""
    left: float = 0.0
    scalable: bool = False
    """Whether another factor could have been had."""

    def place(self, top: int, left: int, height: int, width: int) -> tuple[float, float, float, float]:
        """What is at (top, left, height, width) in the picture, in pixels of `image`."""
        factor = self.factor
        return self.top + top / factor, self.left + left / factor, height / factor, width / factor


Reduction = Callable[[int, int], int]
"""By what a picture of this height and width may be made smaller: 1, 2, 4 or 8, with at least 8 pixels a side left."""


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The picture in an image file's bytes: (H, W, 3), uint8, RGB, C-contiguous, writable and nobody else's.

    It equals Pillow's `ImageOps.exif_transpose(image).convert("RGB")`, except that channels of 16 bits become their
    upper 8 bits, and an unreadable Exif turns nothing. Of an animation it is the first frame. The format is found from
    the content. May be called by several threads at once; releases the interpreter's lock while it works.

    Raises DecodeError for content that is empty, truncated, no image, of an unsupported kind, or of more than
    `max_pixels` (height times width, read from the header before anything is decoded), or that asks for far more work
    or memory than its pixels stand for. Raises MemoryError where the machine has too little, and nothing else.
    """
    return decode_scaled(data, _in_full, max_pixels=max_pixels).image


def decode_scaled(data: bytes, reduction: Reduction, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """The picture, smaller by `reduction(height, width)` if it is an ordinary JPEG, otherwise in full; see `decode`.

    libjpeg-turbo takes the means of squares of pixels before there are pixels, which is most of the work of a large
    photograph. `reduction` is asked with the size of the picture, upright, after that has been checked.
    """
    if data[:3] == _JPEG and (header := jpeg_header(data)) is not None and header.components in (1, 3):
        _check_size(header.width, header.height, max_pixels)
        height, width = upright_size(header)
        factor = reduction(height, width)
        try:
            if factor == 1:
                image = upright(decode_jpeg(data, header.height, header.width), header.orientation)
                return Decoded(image, height, width, scalable=True)
            return _decode_smaller(data, header, factor)
        except (ValueError, RuntimeError, MemoryError):
            pass  # strict about everything; Pillow tells the flaws that cost pixels from those that do not
    image = _decode_with_pillow(data, max_pixels)
    return Decoded(image, image.shape[0], image.shape[1])


def _in_full(_height: int, _width: int) -> int:
    return 1


def _decode_smaller(data: bytes, header: JpegHeader, factor: int) -> Decoded:
    height, width = upright_size(header)
    image = upright(decode_jpeg(data, header.height, header.width, factor), header.orientation)
    # The last row and column may stand for fewer pixels than the others; turned, they may come first.
    late_top, late_left = begins_late(header.orientation)
    top = image.shape[0] - height / factor if late_top else 0.0
    left = image.shape[1] - width / factor if late_left else 0.0
    return Decoded(image, height, width, factor, top, left, scalable=True)


@cache
def engine() -> str:
    """The versions of what decides about pixels, such as "simplejpeg-1.9.0_pillow-12.0.0_...", without spaces."""
    versions = {
        "simplejpeg": simplejpeg.__version__,
        "pillow": features.version("pil"),
        "jpeg": features.version("libjpeg_turbo") or features.version("jpg"),
        "webp": features.version("webp"),
        "tiff": features.version("libtiff"),
        "opencv": cv2.__version__,
    }
    return "_".join(f"{name}-{version}" for name, version in versions.items())


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise DecodeError(f"{width} x {height} is {width * height:,} pixels, at most {max_pixels:,} are allowed")


def _decode_with_pillow(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """See `decode`. The one boundary at which Pillow's exceptions, which are of any kind, become DecodeError."""
    kind = _kind(data)
    _check_claims(kind, data, max_pixels)
    try:
        with Image.open(io.BytesIO(data), formats=(kind,)) as image:
            _check_size(*image.size, max_pixels)
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                _refuse(tiff_excess(image))
                _check_size(*tiff_tile(image), max_pixels)
            image.load()
            return upright(_rgb(image), _orientation(image))
    except (DecodeError, MemoryError):  # a lack of memory is the machine's matter, and passes
        raise
    except UnidentifiedImageError as error:
        raise DecodeError(f"a damaged or unsupported {kind} header, in {len(data):,} bytes") from error
    except Exception as error:
        if kind == "PNG" and any(words in str(error) for words in _NO_MEMORY):
            raise MemoryError(f"no memory to unpack a PNG: {error}") from error
        found = f"{type(error).__name__}: {error}".removesuffix(": ")
        raise DecodeError(f"a damaged, truncated or unsupported {kind} of {len(data):,} bytes ({found})") from error


def _check_claims(kind: str, data: bytes, max_pixels: int) -> None:
    """Raises DecodeError for what Pillow would believe before it says how large the picture is."""
    if kind == "JPEG":
        _refuse(jpeg_excess(data))
    elif kind == "WEBP" and (size := webp_size(data)) is not None:
        _check_size(*size, max_pixels)


def _refuse(excess: str | None) -> None:
    if excess is not None:
        raise DecodeError(f"{excess}, which is more than any picture needs")


def _kind(data: bytes) -> str:
    if not data:
        raise DecodeError("empty, 0 bytes")
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile.format
    raise DecodeError(f"no {', '.join(FORMATS)} image: {len(data):,} bytes that begin with {data[:12]!r}")


def _orientation(image: Image.Image) -> Any:
    """After loading, when TIFF has turned itself already. Exif that nobody can read turns nothing."""
    try:
        return image.getexif().get(ORIENTATION_TAG, 1)
    except _UNREADABLE_EXIF:
        return 1


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        return np.repeat(_upper_bits(image)[:, :, np.newaxis], 3, axis=2)
    if image.mode in ("I", "F"):
        raise DecodeError(
            f"{image.format} of 32-bit, signed or floating-point values, which have no meaning as colours"
        )
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _upper_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Gray values of 16 bits, or 12, reduced to 8; Pillow would clip them to 255."""
    values: NDArray[np.uint16] = np.asarray(image)
    bits = 16
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        (bits,) = image.tag_v2[TiffImagePlugin.BITSPERSAMPLE]
        if image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # white is zero
            values = (1 << bits) - 1 - values
    return (values >> (bits - 8)).astype(np.uint8)
