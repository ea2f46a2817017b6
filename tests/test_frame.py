"""Frames: their layout, their lengths, their checksum, and what hostile bytes get."""

from __future__ import annotations

import struct
import subprocess
import sys
import tracemalloc
from typing import Any

import golden
import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace_proto import frame, messages
from headrace_proto.frame import FrameError

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text()
DATA = st.recursive(
    SCALARS | st.binary(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OWN_KEYS = ("protocol", "kind", "pad", "crc32")
HEADERS = st.dictionaries(st.text().filter(lambda key: key not in OWN_KEYS), DATA, max_size=6).map(
    lambda keys: {"protocol": frame.PROTOCOL, "kind": "batch", **keys}
)
PAYLOADS = st.lists(st.binary(max_size=100), max_size=3)


def read(data: bytes, *, checksum: bool = False) -> tuple[dict[str, Any], bytes, bytes]:
    """The header, the payload and what follows them; short slices go to the parsers as they are."""
    length = frame.parse_prefix(data[: frame.PREFIX_LENGTH])
    header_bytes, data = data[frame.PREFIX_LENGTH :][:length], data[frame.PREFIX_LENGTH + length :]
    header = frame.parse_header(header_bytes)
    payload_length = frame.parse_infix(data[: frame.INFIX_LENGTH])
    payload = data[frame.INFIX_LENGTH :][:payload_length]
    if len(payload) < payload_length:
        raise FrameError("the stream was cut in a payload")  # what a reader sees that waits for these bytes
    if checksum:
        frame.check(header_bytes, header, payload)
    return header, payload, data[frame.INFIX_LENGTH + payload_length :]


@given(HEADERS, PAYLOADS, st.booleans())
def test_a_frame_gives_back_its_header_and_payload(header: dict[str, Any], parts: list[bytes], checksum: bool) -> None:
    head = frame.pack_head(header, parts, checksum=checksum)
    found, payload, rest = read(head + b"".join(parts), checksum=checksum)
    assert {key: value for key, value in found.items() if key not in ("pad", "crc32")} == header
    assert payload == b"".join(parts)
    assert rest == b""


@given(HEADERS, PAYLOADS, st.booleans())
def test_the_payload_begins_at_a_multiple_of_64(header: dict[str, Any], parts: list[bytes], checksum: bool) -> None:
    assert len(frame.pack_head(header, parts, checksum=checksum)) % 64 == 0


@given(st.lists(st.tuples(HEADERS, st.binary(max_size=100), st.booleans()), max_size=4))
def test_a_stream_is_a_plain_sequence_of_msgpack_objects(frames: list[tuple[dict[str, Any], bytes, bool]]) -> None:
    unpacker = msgpack.Unpacker(raw=False)
    for header, payload, checksum in frames:
        unpacker.feed(frame.pack_head(header, [payload], checksum=checksum) + payload)
    for (header, payload, _), (header_bytes, found) in zip(frames, unpacker, strict=True):
        assert header.items() <= msgpack.unpackb(header_bytes).items()
        assert found == payload


def test_keys_of_the_frame_in_a_header_are_replaced_by_its_own() -> None:
    head = frame.pack_head({"crc32": b"old", "pad": b"old", "protocol": 1, "kind": "ping"}, checksum=True)
    header, _, _ = read(head, checksum=True)
    assert list(header) == ["protocol", "kind", "pad", "crc32"]


def test_a_payload_in_parts_is_the_same_frame_as_in_one() -> None:
    header = messages.Ping().header()
    whole = frame.pack_head(header, [b"abcdef"], checksum=True)
    assert whole == frame.pack_head(header, [b"ab", bytearray(b"cd"), memoryview(b"ef")], checksum=True)


@pytest.mark.parametrize("name", ["batch-full", "end", "error", "ping"])
def test_any_flipped_bit_is_found_with_the_checksum(name: str) -> None:
    entry = golden.FRAMES[name]
    data = frame.pack_head(entry.message.header(), [entry.payload], checksum=True) + entry.payload
    read(data, checksum=True)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FrameError):
            read(bytes(flipped), checksum=True)


@given(st.data())
def test_any_other_damage_is_found_with_the_checksum(data: st.DataObject) -> None:
    whole = golden.stored("batch-full")
    at = data.draw(st.integers(0, len(whole) - 1))
    damage = data.draw(st.binary(min_size=1, max_size=8))
    damaged = whole[:at] + damage + whole[at + len(damage) :]
    if damaged != whole:
        with pytest.raises(FrameError):
            read(damaged, checksum=True)


def test_any_truncation_is_found_with_the_checksum() -> None:
    whole = golden.stored("batch-full")
    for length in range(len(whole)):
        with pytest.raises(FrameError):
            read(whole[:length], checksum=True)


@pytest.mark.parametrize("name", ["batch", "end", "error", "ping"])
def test_a_cut_before_the_payload_is_found_without_a_checksum(name: str) -> None:
    whole = golden.stored(name)
    for length in range(len(whole) - len(golden.FRAMES[name].payload)):
        with pytest.raises(FrameError):
            read(whole[:length])


def test_a_frame_without_a_checksum_fails_the_check() -> None:
    with pytest.raises(FrameError, match="a checksum was asked for, and the frame carries none"):
        read(golden.stored("ping"), checksum=True)


def test_a_checksum_that_is_not_at_the_headers_end_fails_the_check() -> None:
    header_bytes = msgpack.packb({"protocol": 1, "kind": "ping", "crc32": bytes(4), "more": 1})
    with pytest.raises(FrameError, match="carries none at its header's end"):
        frame.check(header_bytes, frame.parse_header(header_bytes), b"")


def test_a_length_that_lies_is_refused_before_anything_is_allocated() -> None:
    tracemalloc.start()
    try:
        for length in (frame.MAX_HEADER + 1, 2**32 - 1):
            with pytest.raises(FrameError, match=f"at most 16777216 bytes, this one says {length}"):
                frame.parse_prefix(struct.pack(">BBI", 0x92, 0xC6, length))
        for length in (frame.MAX_PAYLOAD + 1, 2**32 - 1):
            with pytest.raises(FrameError, match=f"at most 1073741824 bytes, this one says {length}"):
                frame.parse_infix(struct.pack(">BI", 0xC6, length))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_the_greatest_lengths_are_allowed() -> None:
    assert frame.parse_prefix(struct.pack(">BBI", 0x92, 0xC6, frame.MAX_HEADER)) == 16 * 2**20
    assert frame.parse_infix(struct.pack(">BI", 0xC6, frame.MAX_PAYLOAD)) == 2**30


def test_a_header_that_is_too_large_is_not_sent() -> None:
    with pytest.raises(FrameError, match="ask for a smaller batch"):
        frame.pack_head({"strings": "x" * frame.MAX_HEADER})


def test_a_payload_that_is_too_large_is_not_sent() -> None:
    part = memoryview(bytes(2**20))
    frame.pack_head({}, [part] * 1024)
    with pytest.raises(FrameError, match="ask for a smaller batch"):
        frame.pack_head({}, [part] * 1024 + [memoryview(b"x")])


@pytest.mark.parametrize("start", [b"HTTP/1", b"\x92\xc5\0\0\0\1", b"\x93\xc6\0\0\0\1", b"\x92\xc6\0", b""])
def test_bytes_that_begin_no_frame_are_refused(start: bytes) -> None:
    with pytest.raises(FrameError):
        frame.parse_prefix(start)


@pytest.mark.parametrize("infix", [b"\xc5\0\0\0\1", b"\xc6\0\0\0", b""])
def test_bytes_that_begin_no_payload_are_refused(infix: bytes) -> None:
    with pytest.raises(FrameError):
        frame.parse_infix(infix)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ([], "must be a map, found list"),
        ({}, "knows protocol 1, the frame says None"),
        ({"protocol": 2, "kind": "batch"}, "knows protocol 1, the frame says 2"),
        ({"protocol": 1}, "kind must be a string, found None"),
        ({"protocol": 1, "kind": b"batch"}, "kind must be a string, found b'batch'"),
        ({"protocol": 1, "kind": "ping", 5: 6}, "int is not allowed for map key"),
    ],
)
def test_a_header_that_is_not_this_protocols_says_what_it_is(header: object, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        frame.parse_header(msgpack.packb(header))


HOSTILE = {
    "lists in lists, to any depth": b"\x91" * 100_000,
    "maps in maps, to any depth": b"\x81\xa1a" * 100_000,
    "depth that msgpack reads and repr cannot": b"\x82\xa8protocol\x01\xa4kind" + b"\x91" * 1000 + b"\x90",
    "a protocol of great depth": b"\x81\xa8protocol" + b"\x91" * 1000 + b"\x90",
    "a list of four billion": b"\xdd\xff\xff\xff\xff",
    "a map of four billion": b"\xdf\xff\xff\xff\xff",
    "a string of four billion bytes": b"\xdb\xff\xff\xff\xff",
    "a bin of four billion bytes": b"\xc6\xff\xff\xff\xff",
    "an ext of four billion bytes": b"\xc9\xff\xff\xff\xff\x05",
    "an ext": b"\xd4\x05x",
    "a timestamp of a wrong length": b"\xc7\x03\xff123",
    "a timestamp beyond its range": b"\xd7\xff" + b"\xff" * 8,
    "an ext as a key": b"\x81\xd4\x05x\x01",
    "a list as a key": b"\x81\x90\x01",
    "a string that is not UTF-8": b"\x81\xa1\xff\x01",
    "the byte that msgpack never uses": b"\xc1",
    "nothing": b"",
    "two objects": b"\x80\x80",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_msgpack_raises_a_short_error_of_one_line(data: bytes) -> None:
    with pytest.raises(FrameError) as caught:
        frame.parse_header(data)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_lists_that_lie_about_their_length_in_every_level_cost_little() -> None:
    """msgpack makes room for what a list announces: a full header of such lists would ask for 128 GiB."""
    script = (
        "import resource; from headrace_proto import frame\n"
        "resource.setrlimit(resource.RLIMIT_AS, (10 * 2**30,) * 2)\n"
        "try: frame.parse_header((b'\\xdd\\0\\xff\\xff\\xff' * 1000).ljust(frame.MAX_HEADER, b'\\0'))\n"
        "except frame.FrameError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "16777215 exceeds max_array_len" in done.stdout


@given(st.binary(max_size=300))
@example(b"\x81\xa8protocol\x01")
def test_any_bytes_give_a_header_or_a_frame_error(data: bytes) -> None:
    for parse in (frame.parse_prefix, frame.parse_infix, frame.parse_header):
        try:
            parse(data)
        except FrameError:
            continue


def test_importing_the_contract_loads_msgpack_and_numpy_only() -> None:
    script = (
        "import sys, pkgutil, importlib, msgpack, numpy; known = set(sys.modules)\n"
        "import headrace_proto\n"
        "for module in pkgutil.iter_modules(headrace_proto.__path__, 'headrace_proto.'):\n"
        "    importlib.import_module(module.name)\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - known} - set(sys.stdlib_module_names)\n"
        "print(*sorted(new - {'headrace_proto', 'msgpack', 'numpy'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
