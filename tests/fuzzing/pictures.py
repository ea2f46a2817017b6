"""Pictures of every kind that the server takes, small and good: what the damage begins with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from fuzzing import bombs
from fuzzing.bombs import encoded

_ORIENTATION = 0x0112
_CLAIMED = ((1000, 900), (9000, 9000), (65_500, 65_500))


def picture(mode: str = "RGB", size: tuple[int, int] = (45, 31)) -> Image.Image:
    """Smooth noise, (width, height) pixels, whose alpha, if it has one, is noise too."""
    noise = np.random.default_rng(1).integers(0, 256, (5, 6, 4), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)


def _exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x010E] = "a description that does not fit into four bytes"
    tags[_ORIENTATION] = orientation
    return tags


def _jpegs() -> list[bytes]:
    large = picture(size=(200, 140))  # enough to be decoded smaller
    options: list[dict[str, Any]] = [
        {"subsampling": "4:4:4"},
        {"progressive": True},
        {"restart_marker_rows": 1},
        {"exif": _exif(6)},
        {"exif": _exif(3), "progressive": True},
        {"keep_rgb": True},
    ]
    modes = [encoded(picture(mode), "JPEG") for mode in ("L", "CMYK")]
    return [
        *(encoded(picture(), "JPEG", **each) for each in options),
        *modes,
        encoded(large, "JPEG", exif=_exif(5)),
        encoded(large, "JPEG", progressive=True),
        encoded(picture(), "MPO", save_all=True, append_images=[picture().rotate(90)]),
        bombs.many_scans(48, 20),
        bombs.many_good_scans(1, 5),
        bombs.many_sequential_scans(48, 20),
        bombs.many_exifs(20),
    ]


def _pngs() -> list[bytes]:
    sixteen = Image.fromarray(np.arange(45 * 31, dtype=np.uint16).reshape(31, 45) * 47)
    return [
        *(encoded(picture(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        encoded(sixteen, "PNG"),
        encoded(picture("P"), "PNG", transparency=3),
        encoded(picture(), "PNG", exif=_exif(8)),
        encoded(picture(), "PNG", save_all=True, append_images=[picture().rotate(180)]),
        _interlaced(),
    ]


def _interlaced() -> bytes:
    """Says to be interlaced, which Pillow cannot write: of one pixel, it is."""
    data = bytearray(encoded(picture(size=(1, 1)), "PNG"))
    start = data.index(b"IHDR")
    data[start + 16] = 1
    data[start + 17 : start + 21] = bombs.checksum(bytes(data[start : start + 17]))
    return bytes(data)


def _webps() -> list[bytes]:
    options: list[dict[str, Any]] = [{}, {"lossless": True}, {"exif": _exif(7)}]
    return [
        *(encoded(picture(mode), "WEBP", **each) for mode in ("RGB", "RGBA") for each in options),
        encoded(picture(), "WEBP", save_all=True, append_images=[picture().rotate(180)]),
    ]


def _tiffs() -> list[bytes]:
    compressions = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    modes = ("1", "L", "P", "RGBA", "CMYK", "YCbCr", "I;16", "F")
    return [
        *(encoded(picture(), "TIFF", compression=each) for each in compressions),
        *_of_rare_compressions(),
        *(encoded(picture("1"), "TIFF", compression=each) for each in ("group3", "group4", "tiff_ccitt")),
        *(encoded(_in_mode(mode), "TIFF") for mode in modes),
        *(encoded(_in_mode(mode), "TIFF", compression="tiff_lzw") for mode in ("I;16", "CMYK")),
        encoded(picture(), "TIFF", exif=_exif(6), big_tiff=True),
        encoded(picture(), "TIFF", save_all=True, append_images=[picture().rotate(180)]),
        bombs.large_tile(96),
        bombs.many_strips(40, 20),
        bombs.tiff(40, 30, bytes(range(200)) * 10, t322=16, t323=16, t324=[0] * 6),
    ]


def _of_rare_compressions() -> list[bytes]:
    """Those that this Pillow was built with."""
    made = []
    for compression in ("lzma", "zstd", "lerc"):
        with contextlib.suppress(OSError):
            made.append(encoded(picture(), "TIFF", compression=compression))
    return made


def _in_mode(mode: str) -> Image.Image:
    if mode != "I;16":
        return picture(mode)
    return Image.fromarray(np.arange(45 * 31, dtype=np.uint16).reshape(31, 45) * 47)


def _others() -> list[bytes]:
    return [
        encoded(picture("P"), "GIF"),
        encoded(picture("P"), "GIF", transparency=3, interlace=1),
        encoded(picture("P"), "GIF", save_all=True, append_images=[picture("P").rotate(180)], comment=b"x" * 300),
        *(encoded(picture(mode), "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")),
        _run_lengths(),
    ]


def _run_lengths() -> bytes:
    """A BMP of 8 x 3 pixels in run-length encoding, which Pillow reads and cannot write."""
    header = bytearray(encoded(picture("P", (8, 3)), "BMP")[: 14 + 40 + 1024])
    header[30] = 1
    return bytes(header) + b"\x08\x05\0\0\x03\x01\x05\x02\0\0\x04\x07\0\x04\x01\x02\x03\x04\0\x01"


KINDS: dict[str, Callable[[], list[bytes]]] = {
    "jpeg": _jpegs,
    "png": _pngs,
    "webp": _webps,
    "tiff": _tiffs,
    "others": _others,
    "claims": lambda: [claim(*size) for claim in bombs.CLAIMS.values() for size in _CLAIMED],
}


def largest(pixels: int) -> list[bytes]:
    """Of as many pixels, in what takes decoders the most memory."""
    size = (2048, pixels // 2048)
    channels = {mode: Image.new(mode, size, (9, 59, 109, 159)[: len(mode)]) for mode in ("RGB", "RGBA", "CMYK")}
    return [
        encoded(channels["CMYK"], "JPEG", progressive=True, exif=_exif(6)),
        encoded(channels["RGB"], "JPEG", progressive=True, subsampling="4:4:4", exif=_exif(6)),
        encoded(channels["RGBA"], "PNG", exif=_exif(6)),
        encoded(channels["RGBA"], "WEBP", lossless=True, exif=_exif(6)),
        encoded(channels["RGBA"], "WEBP", save_all=True, append_images=[channels["RGBA"].rotate(180)]),
        encoded(Image.new("P", size, 7), "GIF"),
        encoded(channels["RGBA"], "TIFF", compression="tiff_adobe_deflate", exif=_exif(6)),
        encoded(channels["CMYK"], "TIFF", compression="tiff_lzw", exif=_exif(6)),
        bombs.large_tile(size[0] * 11 // 16),
        bombs.large_tile(9000),
    ]


def seeds() -> list[list[bytes]]:
    """By kind, so that pieces are spliced with their like, and every kind gets its share."""
    return [make() for make in KINDS.values()]
