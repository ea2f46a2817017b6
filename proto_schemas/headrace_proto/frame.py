"""Framing: how one message stands in the stream of bytes. Pure functions; `docs/protocol.md` says it in words.

    0x92  0xc6 u32 header-length  header  0xc6 u32 payload-length  payload

is one msgpack array of two `bin 32` values. The header is a msgpack map, padded by its key "pad" so that the payload
begins at a multiple of 64 bytes in the frame.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

import msgpack

from . import checks

PROTOCOL = 1
"""The protocol's number; it changes when an old reader would misread a new frame."""
ALIGNMENT = 64
"""Bytes; what TensorFlow asks of a buffer that it adopts without copying."""
MAX_HEADER = 16 * 2**20
MAX_PAYLOAD = 2**30
MAX_ENTRIES = 2**20
"""Elements that one list or map in a header may have: msgpack allocates what a list says before it reads it."""
_MOST_ELEMENTS = 4 * MAX_ENTRIES
"""Elements of all lists and maps of a header, each of which counts as one itself: they take many times their bytes."""
PREFIX_LENGTH = 6
"""Bytes before the header."""
INFIX_LENGTH = 5
"""Bytes between the header and the payload."""

_PREFIX = struct.Struct(">BBI")
_INFIX = struct.Struct(">BI")
_ARRAY_OF_2, _BIN_32 = 0x92, 0xC6
_PAD_KEY = "pad"
_CRC_KEY = "crc32"
_CRC_LENGTH = 4

Buffer: TypeAlias = bytes | bytearray | memoryview
_C = TypeVar("_C", list[Any], dict[Any, Any])


class FrameError(ValueError):
    """Bytes that are no frame of this protocol."""


def aligned(length: int) -> int:
    """The least multiple of 64 that is not below `length`."""
    return -(-length // ALIGNMENT) * ALIGNMENT


def pack_head(header: Mapping[str, Any], payload: Iterable[Buffer] = (), *, checksum: bool = False) -> bytes:
    """All of a frame that stands before its payload. `payload` is the payload in parts, which is not copied.

    With `checksum` the header ends in a CRC-32 of itself (up to the checksum's own four bytes) and the payload.
    Raises FrameError if a part is larger than the protocol allows.
    """
    parts = list(payload)
    payload_length = sum(memoryview(part).nbytes for part in parts)
    body = _padded(header, checksum)
    if len(body) > MAX_HEADER or payload_length > MAX_PAYLOAD:
        raise FrameError(
            f"a frame's header may have {MAX_HEADER} bytes and its payload {MAX_PAYLOAD}; "
            f"these have {len(body)} and {payload_length}: ask for a smaller batch"
        )
    if checksum:
        body = body[:-_CRC_LENGTH] + _crc(body, parts).to_bytes(_CRC_LENGTH, "big")
    return b"".join((_PREFIX.pack(_ARRAY_OF_2, _BIN_32, len(body)), body, _INFIX.pack(_BIN_32, payload_length)))


def parse_prefix(data: Buffer) -> int:
    """The header's length, from a frame's first 6 bytes."""
    array, binary, length = _unpack(_PREFIX, "prefix", data)
    if array != _ARRAY_OF_2 or binary != _BIN_32:
        raise FrameError(f"a frame begins with the bytes 92 c6, found {bytes(data[:2]).hex(' ')}")
    if length > MAX_HEADER:
        raise FrameError(f"a frame's header has at most {MAX_HEADER} bytes, this one says {length}")
    return int(length)


def parse_infix(data: Buffer) -> int:
    """The payload's length, from the 5 bytes after the header."""
    binary, length = _unpack(_INFIX, "infix", data)
    if binary != _BIN_32:
        raise FrameError(f"a payload begins with the byte c6, found {binary:02x}")
    if length > MAX_PAYLOAD:
        raise FrameError(f"a frame's payload has at most {MAX_PAYLOAD} bytes, this one says {length}")
    return int(length)


def parse_header(data: Buffer) -> dict[str, Any]:
    """The header's map, checked for the protocol's number and a kind."""
    length = memoryview(data).nbytes
    most = min(MAX_ENTRIES, length)  # an element has a byte at least
    count = _Count() if 2 * length > _MOST_ELEMENTS else None  # each counts once, a list or map once more
    try:
        # Only strings as keys: their hashes are salted, so nobody can send a million that collide.
        header = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_array_len=most,
            max_map_len=most,
            list_hook=count,
            object_hook=count,
        )
    except (ValueError, TypeError, RecursionError) as error:  # msgpack's own errors are ValueErrors
        raise FrameError(f"a frame's header is not msgpack as headrace uses it: {error}") from error
    if not isinstance(header, dict):
        raise FrameError(f"a frame's header must be a map, found {type(header).__name__}")
    if header.get("protocol") != PROTOCOL:
        said = checks.found(header.get("protocol"))
        raise FrameError(f"this reader knows protocol {PROTOCOL}, the frame says {said}")
    if not isinstance(header.get("kind"), str):
        raise FrameError(f"a frame's kind must be a string, found {checks.found(header.get('kind'))}")
    return header


class _Count:
    """Refuses a header whose lists and maps have too many elements."""

    def __init__(self) -> None:
        self._left = _MOST_ELEMENTS

    def __call__(self, found: _C) -> _C:
        self._left -= 1 + len(found)
        if self._left < 0:
            raise ValueError(f"more than {_MOST_ELEMENTS} elements in its lists and maps")
        return found


def check(header_bytes: Buffer, header: Mapping[str, Any], payload: Buffer) -> None:
    """Raises FrameError unless the frame carries a checksum and it fits."""
    expected = header.get(_CRC_KEY)
    if not isinstance(expected, bytes) or bytes(header_bytes[-_CRC_LENGTH:]) != expected:
        raise FrameError("a checksum was asked for, and the frame carries none at its header's end")
    actual = _crc(header_bytes, [payload]).to_bytes(_CRC_LENGTH, "big")
    if actual != expected:
        raise FrameError(f"the frame's checksum is {expected.hex()}, its bytes give {actual.hex()}: damaged on the way")


def _unpack(layout: struct.Struct, name: str, data: Buffer) -> tuple[int, ...]:
    if (length := memoryview(data).nbytes) != layout.size:
        raise FrameError(f"a frame's {name} has {layout.size} bytes, found {length}: the stream was cut")
    return layout.unpack(data)


def _padded(header: Mapping[str, Any], checksum: bool) -> bytes:
    header = {key: value for key, value in header.items() if key not in (_PAD_KEY, _CRC_KEY)} | {_PAD_KEY: b""}
    if checksum:
        header[_CRC_KEY] = bytes(_CRC_LENGTH)  # last, so that its bytes are the header's last
    bare = msgpack.packb(header)
    header[_PAD_KEY] = bytes(-(PREFIX_LENGTH + len(bare) + INFIX_LENGTH) % ALIGNMENT)
    packed: bytes = msgpack.packb(header)
    return packed


def _crc(header_bytes: Buffer, payload: Iterable[Buffer]) -> int:
    crc = zlib.crc32(memoryview(header_bytes)[:-_CRC_LENGTH])
    for part in payload:
        crc = zlib.crc32(part, crc)
    return crc
