"""What a file asks for beside its pixels: canvases, tiles, scans. A few bytes can claim much memory or work.

Pillow and the libraries below it believe these claims, some of them before they say how large the picture is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from PIL import TiffImagePlugin

MOST_SCANS = 100
"""Of a JPEG; each goes over all its pixels, and may be ten bytes long. Encoders make about ten; libtiff allows 100."""
_MOST_EXIFS = 100
"""Segments of a JPEG with Exif, which Pillow joins, copying all those before: a megabyte is 16."""
_MOST_TIMES = 8
"""How often a TIFF's strips may cover the picture; once for each channel is what files do."""

_SCAN, _END, _APP1 = 0xDA, 0xD9, 0xE1
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
"""What is none: an escaped 0xff, a restart, or filling."""
_LOSSY, _LOSSLESS, _EXTENDED = b"VP8 ", b"VP8L", b"VP8X"


def jpeg_excess(data: bytes, start: int = 2) -> str | None:
    """Why a JPEG asks for too much in what follows `start`, where a marker is; None if it does not."""
    scans = exifs = 0
    for marker, content in _segments(data, start):
        scans += marker == _SCAN
        exifs += marker == _APP1 and data.startswith(b"Exif\0\0", content)
        if scans > MOST_SCANS:
            return f"a JPEG of more than {MOST_SCANS} scans"
        if exifs > _MOST_EXIFS:
            return f"a JPEG whose Exif is in more than {_MOST_EXIFS} pieces"
    return None


def _segments(data: bytes, position: int) -> Iterator[tuple[int, int]]:
    """Each marker, and where the content of its segment begins, as libjpeg finds them; up to the picture's end."""
    while found := _MARKER.search(data, position):
        marker, content = data[found.start() + 1], found.end() + 2
        if marker == _END:
            return
        yield marker, content
        position = max(content, found.end() + int.from_bytes(data[found.end() : content], "big"))


def webp_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) of the canvas, for which the decoder makes room when it is opened."""
    kind = data[12:16]
    if kind == _LOSSY and data[23:26] == b"\x9d\x01\x2a":
        return _number(data, 26, 2) & 0x3FFF, _number(data, 28, 2) & 0x3FFF
    if kind == _LOSSLESS:
        bits = _number(data, 21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == _EXTENDED:
        return _number(data, 24, 3) + 1, _number(data, 27, 3) + 1
    return None


def _number(data: bytes, start: int, length: int) -> int:
    return int.from_bytes(data[start : start + length], "little")


def tiff_tile(image: TiffImagePlugin.TiffImageFile) -> tuple[Any, Any]:
    """(width, height) of a tile, which is decoded whole however little of it is the picture's; 0 where there is none.

    They may be anything that a TIFF's tags can hold.
    """
    return image.tag_v2.get(TiffImagePlugin.TILEWIDTH, 0), image.tag_v2.get(TiffImagePlugin.TILELENGTH, 0)


def tiff_excess(image: TiffImagePlugin.TiffImageFile) -> str | None:
    """Why a TIFF asks for too much; None if it does not."""
    width, height = tiff_tile(image)
    if not (isinstance(width, int) and isinstance(height, int)):
        return f"a TIFF whose tiles are {width!r} x {height!r}"[:100]
    pixels = image.width * image.height
    covered = sum((right - left) * (bottom - top) for left, top, right, bottom in _extents(image))
    if covered > _MOST_TIMES * pixels:
        return f"a TIFF of {pixels:,} pixels whose strips have {covered:,}"
    return None


def _extents(image: TiffImagePlugin.TiffImageFile) -> Iterator[Any]:
    """Where each strip or tile lies, (left, top, right, bottom)."""
    return (tile[1] for tile in image.tile)
