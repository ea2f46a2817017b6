"""Small files that claim, or would make a decoder do, far more than they hold."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

from PIL import Image, ImageFile

# Pillow writes an optimised JPEG in one piece, which for noise is larger than it reckons.
ImageFile.MAXBLOCK = 2**20
_SHORT, _LONG, _LONG8 = 3, 4, 16


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# --- headers that claim more pixels than anybody has


def png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + checksum(name + content)


def checksum(content: bytes) -> bytes:
    """As PNG has it."""
    return struct.pack(">I", zlib.crc32(content))


def jpeg(width: int, height: int, **options: Any) -> bytes:
    data = bytearray(encoded(Image.new("RGB", (16, 16)), "JPEG", **options))
    start = data.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def gif(width: int, height: int) -> bytes:
    data = bytearray(encoded(Image.new("P", (16, 16)), "GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def gif_frame(width: int, height: int) -> bytes:
    """Its screen is small, and the picture on it is not."""
    data = bytearray(encoded(Image.new("P", (16, 16)), "GIF"))
    start = data.index(b",\0\0\0\0\x10\0\x10\0")
    data[start + 5 : start + 9] = struct.pack("<HH", width, height)
    return bytes(data)


def bmp(width: int, height: int) -> bytes:
    data = bytearray(encoded(Image.new("RGB", (16, 16)), "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def webp(width: int, height: int) -> bytes:
    """A canvas of up to 2^24 pixels a side, for a picture of 16."""
    picture = encoded(Image.new("RGB", (16, 16)), "WEBP", lossless=True)[12:]
    canvas = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return _riff(b"VP8X" + struct.pack("<I", len(canvas)) + canvas + picture)


def webp_animated(width: int, height: int) -> bytes:
    """The same, well-formed: the picture is one of an animation's, and smaller than the canvas."""
    picture = encoded(Image.new("RGB", (16, 16)), "WEBP", lossless=True)[12:]
    canvas = b"\x02" + bytes(3) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    frame = bytes(6) + (15).to_bytes(3, "little") * 2 + b"\x10\0\0\0" + picture
    chunks = ((b"VP8X", canvas), (b"ANIM", bytes(6)), (b"ANMF", frame))
    return _riff(b"".join(name + struct.pack("<I", len(content)) + content for name, content in chunks))


def _riff(content: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(content)) + b"WEBP" + content


def tiff(width: int, height: int, data: bytes = bytes(100), *, big: bool = False, **tags: int | list[int]) -> bytes:
    """Gray, 8 bits, in one strip unless the tags, by their numbers as "t322", say otherwise."""
    values: dict[int, int | list[int]] = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1}
    values |= {int(name[1:]): value for name, value in tags.items()}
    if 322 not in values:
        values = {273: 0, 278: height, 279: len(data), **values}
    else:
        values = {324: 0, 325: len(data), **values}
    return _tiff_of(values, data, big=big)


def _tiff_of(values: dict[int, int | list[int]], data: bytes, *, big: bool) -> bytes:
    """The directory, the lists that do not fit into it, and the data; an offset of 0 becomes where that begins."""
    entry, count, offset = ("<HHQQ", "<Q", "<Q") if big else ("<HHII", "<H", "<I")
    head = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) if big else b"II*\0" + struct.pack("<I", 8)
    lists_at = len(head) + struct.calcsize(count) + struct.calcsize(entry) * len(values) + struct.calcsize(offset)
    data_at = lists_at + sum(4 * len(value) for value in values.values() if isinstance(value, list))
    directory, lists = b"", b""
    for tag, value in sorted(values.items()):
        if isinstance(value, list):
            directory += struct.pack(entry, tag, _LONG, len(value), lists_at + len(lists))
            lists += struct.pack(f"<{len(value)}I", *(item or data_at for item in value))
        else:
            where = data_at if tag in (273, 324) and not value else value
            directory += struct.pack(entry, tag, _LONG8 if big else _LONG, 1, where)
    return head + struct.pack(count, len(values)) + directory + struct.pack(offset, 0) + lists + data


CLAIMS: dict[str, Callable[[int, int], bytes]] = {
    "png": png,
    "jpeg": jpeg,
    "jpeg progressive": lambda width, height: jpeg(width, height, progressive=True),
    "gif": gif,
    "gif frame": gif_frame,
    "bmp": bmp,
    "webp": webp,
    "webp animated": webp_animated,
    "tiff": tiff,
    "tiff big": lambda width, height: tiff(width, height, big=True),
}
"""Files whose headers claim this width and height, by kind."""


def one_colour(side: int) -> dict[str, bytes]:
    """Pictures of side x side pixels that are whole, by format."""
    bits, size = Image.new("1", (side, side)), (side, side)
    return {
        "png": encoded(bits, "PNG"),
        "jpeg": encoded(Image.new("L", size), "JPEG"),
        "gif": encoded(Image.new("P", size), "GIF"),
        "bmp": encoded(bits, "BMP"),
        "tiff": encoded(bits, "TIFF", compression="group4"),
        "webp": encoded(Image.new("RGB", size), "WEBP", lossless=True, method=0),
    }


# --- work and memory beyond what their pixels stand for


def many_scans(side: int, scans: int) -> bytes:
    """A JPEG that goes over all its pixels again with every ten bytes; each of these scans lacks its data."""
    data = encoded(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    return data[:-2] + _scan(0, 0) * scans + data[-2:]


def many_good_scans(across: int, scans: int) -> bytes:
    """The same without a flaw, of 1024 * across pixels a side: each scan says of all blocks that nothing changes."""
    data = encoded(Image.new("L", (1024 * across, 1024 * across), 128), "JPEG", progressive=True)
    table = b"\xff\xc4" + struct.pack(">HB16sB", 20, 0x10, b"\x01", 0xE0)  # the code 0: a run of 2^14 blocks and more
    bits = 15 * across**2  # for each run its code, and 14 for how many blocks more, which is none
    content = ((1 << -bits % 8) - 1).to_bytes(-(-bits // 8), "big")
    return data[:-2] + table + (_scan(1, 63) + content) * scans + data[-2:]


def many_sequential_scans(side: int, scans: int) -> bytes:
    """The same in the older process, in which every scan has one of the colours, and here not even that."""
    data = encoded(Image.new("RGB", (side, side), (9, 99, 199)), "JPEG")
    return data[: data.index(b"\xff\xda")] + _scan(0, 63) * scans + data[-2:]


def _scan(first: int, last: int) -> bytes:
    """The head of a scan of one channel's coefficients from the first to the last."""
    return b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, first, last, 0)


def many_exifs(pieces: int) -> bytes:
    """A JPEG whose Exif comes two bytes at a time, each of which makes a copy of all those before it."""
    data = encoded(Image.new("CMYK", (16, 16)), "JPEG")
    return data[:2] + b"\xff\xe1\0\x0aExif\0\0zz" * pieces + data[2:]


def large_tile(side: int) -> bytes:
    """A TIFF of one pixel, in a tile that is as large as that."""
    data = zlib.compress(bytes(side * side), 1)
    return tiff(1, 1, data, t259=8, t322=side, t323=side)


def many_strips(side: int, strips: int) -> bytes:
    """A TIFF of side x side bits, whose strips, of one row less than it has, all say to be the same bytes."""
    data = bytes(-(-side // 8) * side)
    return tiff(side, side, data, t258=1, t273=[0] * strips, t278=side - 1, t279=len(data))
