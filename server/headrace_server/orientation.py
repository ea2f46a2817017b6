"""Which way up a photograph is: the orientation in a JPEG's headers, and turning the pixels by it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .claims import jpeg_excess

ORIENTATION_TAG = 0x0112

_SCAN = 0xDA
_APP1 = 0xE1
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_SEGMENTS = _FRAMES | {0xC4, 0xCC, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)}
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_SHORT = 3
_UNIT_BYTES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4)
"""The size of one value of each TIFF type, by the type's number; what is not here Pillow skips."""


class JpegHeader(NamedTuple):
    """What a JPEG says before its first scan. `orientation` is Exif's, 1 to 8 as a rule; 1 is upright."""

    height: int
    width: int
    components: int
    orientation: int


def jpeg_header(data: bytes) -> JpegHeader | None:
    """The header of an ordinary JPEG, or None where anything in it is odd and Pillow must say what it means.

    Odd are: bytes between the segments, markers of rare processes, samples of other than 8 bits, an orientation in XMP
    alone, Exif that is in several pieces or not as the standard has it, and more scans than anybody needs.
    """
    try:
        return _walk(data)
    except (IndexError, struct.error):
        return None


def _walk(data: bytes) -> JpegHeader | None:
    frame: tuple[int, int, int] | None = None
    progressive = False
    orientation: int | None = 0  # 0: no Exif yet
    xmp = False
    position = 2
    while (marker := data[position + 1]) != _SCAN:
        if data[position] != 0xFF or marker not in _SEGMENTS:
            return None
        end = position + 2 + (data[position + 2] << 8 | data[position + 3])
        if marker == _APP1:
            if data.startswith(_EXIF, position + 4):
                if orientation:
                    return None
                orientation = _exif_orientation(data, position + 10, end)
                if orientation is None:
                    return None
            elif data.startswith(_XMP, position + 4):
                xmp = xmp or data.find(b"tiff:Orientation", position, end) >= 0
        elif marker in _FRAMES:
            bits, *size, components = struct.unpack_from(">BHHB", data, position + 4)
            if frame or bits != 8 or 0 in size:
                return None
            frame, progressive = (size[0], size[1], components), marker in _PROGRESSIVE
        position = end
    if frame is None or data[position] != 0xFF or (xmp and not orientation):
        return None
    if (progressive or data[position + 4] != frame[2]) and jpeg_excess(data, position):
        return None
    return JpegHeader(*frame, orientation or 1)


def _exif_orientation(data: bytes, start: int, end: int) -> int | None:
    """The orientation in the Exif data[start:end]: 0 if it has none, None if it is malformed in any way.

    Entries that point outside count as malformed, since Pillow stops reading at one.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[start : start + 4])
    if order is None or end > len(data):
        return None
    first = start + struct.unpack_from(order + "I", data, start + 4)[0]
    (count,) = struct.unpack_from(order + "H", data, first)
    if first + 2 + 12 * count + 4 > end:
        return None
    found = 0
    for tag, kind, values, where in struct.iter_unpack(order + "HHII", data[first + 2 : first + 2 + 12 * count]):
        if tag == ORIENTATION_TAG:
            if kind != _SHORT or values != 1 or found:
                return None
            # The value of two bytes lies at the beginning of the field of four.
            found = where & 0xFFFF if order == "<" else where >> 16
            if not found:
                return None
        elif kind < len(_UNIT_BYTES) and 4 < values * _UNIT_BYTES[kind] > end - start - where:
            return None
    return found


_TURNS: dict[int, Callable[[NDArray[np.uint8]], Any]] = {
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.flip(image, -1),
    4: lambda image: cv2.flip(image, 0),
    5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.flip(cv2.transpose(image), -1),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def upright_size(header: JpegHeader) -> tuple[int, int]:
    """(height, width) of the picture once it is upright."""
    return (header.width, header.height) if header.orientation in (5, 6, 7, 8) else (header.height, header.width)


def begins_late(orientation: int) -> tuple[bool, bool]:
    """Whether the upright picture's first row, and its first column, is one of the last in the file."""
    return orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)


def upright(image: NDArray[np.uint8], orientation: Any) -> NDArray[np.uint8]:
    """The image (H, W, 3), C-contiguous, turned by Exif's orientation; a value without a meaning turns nothing."""
    turn = _TURNS.get(orientation)
    return image if turn is None else turn(image)
