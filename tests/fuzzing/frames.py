"""Streams of frames as a client reads them, up to the arrays that a trainer gets."""

from __future__ import annotations

import contextlib
import random
import zlib
from collections.abc import Iterator, Sequence

import golden
import msgpack
import numpy as np

from fuzzing.mutations import mutated, replace_one
from fuzzing.runner import Target
from headrace.batch import columns_of
from headrace.frames import FrameReader, ReadInto
from headrace_proto import arrays, frame, messages
from headrace_proto.frame import FrameError

_MOST_MIB = 64
_LISTS = b"\xdd\x00\x0f\xff\xff"
"""What a list of 2^20 - 1 begins with."""
_HOSTILE: tuple[object, ...] = (
    *(None, True, -1, 0, 1, 2, 3, 65, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)),
    *(0.5, float("nan"), float("inf"), "", "x", "x" * 100_000, "\u00e9\u4e2d", b"", b"x" * 70, "uint8", "float64"),
    *([], {}, [[]], [0] * 3000, [[]] * 3000, ["x"] * 3000, {"a": {"a": {}}}, {str(i): i for i in range(1000)}),
    *(msgpack.Timestamp(0, 1), msgpack.ExtType(5, b"x")),
)
_PACKED = [msgpack.packb(each) for each in _HOSTILE]


@contextlib.contextmanager
def target() -> Iterator[Target]:
    seeds = _seeds()
    yield Target(lambda dice: _input(dice, seeds), run, _MOST_MIB, first=(*seeds, *_lies()))


def run(data: bytes) -> str:
    checksum = b"crc32" in data and zlib.crc32(data) % 4 != 0
    reader = FrameReader(_in_pieces(data, random.Random(len(data))), golden.OUTPUTS, checksum=checksum)
    for frames in range(len(data) + 1):
        try:
            message, payload = reader.read()
        except FrameError as error:
            _check_words(str(error))
            return "refused" if frames == 0 else "refused later"
        except EOFError:
            return "ended" if frames == 0 else "ended later"
        _check(message, payload)
        assert not checksum or (message, bytes(payload)) in _ORIGINALS, "damage was not found"
    raise AssertionError("more frames than bytes")


def _check(message: messages.Message, payload: memoryview) -> None:
    """A batch is what the plan's outputs say, and the trainer gets it."""
    if not isinstance(message, messages.Batch):
        assert len(payload) == 0
        return
    columns = columns_of(message, payload)
    assert columns.keys() == {output.name for output in golden.OUTPUTS}
    for output in golden.OUTPUTS:
        assert columns[output.name].shape == (message.count, *output.shape)
        assert columns[output.name].dtype == (np.dtype(output.dtype) if output.dtype != "str" else columns["key"].dtype)
    assert all(message.start <= each.position < message.start + message.count for each in message.replaced)
    assert all(index < message.count for indices in message.escaped.values() for index in indices)


def _check_words(error: str) -> None:
    assert "\n" not in error, "an error of several lines"
    assert len(error) < 2000, "an error that nobody reads to its end"


def _in_pieces(data: bytes, dice: random.Random) -> ReadInto:
    """Fills buffers with as much as just came, which may be anything."""
    rest, most = memoryview(data), dice.choice((1, 7, 64, 4096, 2**20)) + len(data) // 1000

    def fill(buffer: memoryview) -> int:
        nonlocal rest
        count = min(len(buffer), len(rest), dice.randint(1, most))
        buffer[:count] = rest[:count]
        rest = rest[count:]
        return count

    return fill


_ORIGINALS = [(each.message, each.payload) for each in golden.FRAMES.values()]


def _packed(message: messages.Message, payload: bytes, *, checksum: bool) -> bytes:
    return frame.pack_head(message.header(), [payload], checksum=checksum) + payload


def _seeds() -> Sequence[bytes]:
    """Whole streams, with and without checksums, and each frame by itself."""
    streams = []
    for checksum in (False, True):
        frames = [_packed(*original, checksum=checksum) for original in _ORIGINALS]
        streams += [*frames, b"".join(frames), b"".join(reversed(frames))]
    return streams


def _lies() -> Iterator[bytes]:
    """Headers that tell of far more than they have."""
    start = b"\x83\xa8protocol\x01\xa4kind\xa4ping\xa1x"
    for content in (
        _LISTS * 900,
        (b"\xdd" + (5000).to_bytes(4, "big")) * 1000,
        b"\x91" * 1000,
        b"\xdf\x00\x0f\xff\xff",
    ):
        yield _framed(start + content)
    for strings in (
        {"key": ["x" * 100_000, *[""] * 20_000]},
        {"key": [""] * 100_000},
        {"key": ["a", "b"], "unasked": ["c", "d"]},
    ):
        count = len(strings["key"])
        tensors, nbytes = arrays.describe(golden.OUTPUTS, count)
        header = messages.Batch("p1", "e", 0, 0, count, tensors, strings).header()
        yield frame.pack_head(header)[:-4] + nbytes.to_bytes(4, "big") + bytes(nbytes)


def _framed(header: bytes) -> bytes:
    return b"\x92\xc6" + len(header).to_bytes(4, "big") + header + b"\xc6" + bytes(4)


def _input(dice: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Damage to the bytes, or to what they say, or to both."""
    if dice.random() < 0.5:
        return mutated(dice, seeds)
    message, payload = dice.choice(_ORIGINALS)
    header = msgpack.unpackb(msgpack.packb(message.header()))
    for _ in range(dice.randint(1, 3)):
        replace_one(dice, header, msgpack.unpackb(dice.choice(_PACKED), strict_map_key=False))
    data = frame.pack_head(header, [payload]) + payload  # one with a checksum would be good as it is
    return mutated(dice, [data]) if dice.random() < 0.2 else data
