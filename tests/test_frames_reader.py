"""Frames as they come: whole, cut anywhere, or lying about themselves."""

from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
from typing import Any

import msgpack
import numpy as np
import pytest
from hostile import OUTPUTS, Answer, Handler, batch_frame, end_frame, hostile, plain_frame, say_stream
from hypothesis import given
from hypothesis import strategies as st

import headrace
from headrace.frames import FrameReader
from headrace_proto import frame, messages
from headrace_proto.frame import FrameError
from headrace_proto.plan import Output

WHOLE = batch_frame(0, 4)
HEADER = WHOLE[6 : 6 + frame.parse_prefix(WHOLE[:6])]
PING = plain_frame(messages.Ping())


def reader(data: bytes, *, checksum: bool = False) -> FrameReader:
    return FrameReader(io.BytesIO(data).readinto, OUTPUTS, checksum=checksum)


def with_header(**changes: Any) -> bytes:
    return batch_frame(0, 4, **changes)


def framed(header: bytes, header_length: int | None = None, payload_length: int = 0) -> bytes:
    """A frame whose lengths may lie."""
    length = len(header) if header_length is None else header_length
    return b"\x92\xc6" + struct.pack(">I", length) + header + b"\xc6" + struct.pack(">I", payload_length)


def test_a_payload_lies_in_memory_of_its_own_aligned_for_tensorflow() -> None:
    frames = reader(WHOLE + batch_frame(4, 4))
    (_, first), (_, second) = frames.read(), frames.read()
    starts = [np.frombuffer(payload, np.uint8).ctypes.data for payload in (first, second)]
    assert [start % 64 for start in starts] == [0, 0]
    assert not np.shares_memory(np.frombuffer(first, np.uint8), np.frombuffer(second, np.uint8))


@given(st.integers(0, len(WHOLE) - 1))
def test_a_frame_cut_anywhere_is_an_end_too_early(length: int) -> None:
    with pytest.raises(EOFError, match=r"\d+ bytes short"):
        reader(WHOLE[:length]).read()


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_frame_with_one_byte_changed_is_read_or_refused_and_nothing_else(place: int, flip: int) -> None:
    data = bytearray(WHOLE)
    data[place] ^= flip
    with contextlib.suppress(FrameError, EOFError):
        reader(bytes(data)).read()


@given(st.binary(max_size=300))
def test_bytes_that_are_no_frame_are_refused(data: bytes) -> None:
    with pytest.raises((FrameError, EOFError)):
        reader(b"\x92\xc6" + struct.pack(">I", len(data)) + data + b"\xc6\0\0\0\0").read()


def test_a_checksum_that_does_not_fit_is_refused() -> None:
    message, payload = reader(WHOLE).read()
    head = frame.pack_head(message.header(), [payload], checksum=True)
    reader(head + bytes(payload), checksum=True).read()
    with pytest.raises(FrameError, match="damaged"):
        reader(head + b"\xff" + bytes(payload)[1:], checksum=True).read()
    with pytest.raises(FrameError, match="carries none"):
        reader(WHOLE, checksum=True).read()


def other_plan() -> bytes:
    return batch_frame(0, 4, (Output("image", "uint8", (5, 5, 3)), *OUTPUTS[1:]))


LIES: dict[str, tuple[bytes, str]] = {
    "nothing at all": (b"", "short"),
    "cut in the prefix": (WHOLE[:3], "short"),
    "cut in the header": (WHOLE[:50], "short"),
    "cut in the payload": (WHOLE[:-1], "short"),
    "not msgpack": (framed(b"\xc1\xc1\xc1"), "not msgpack"),
    "a page in place of frames": (b"<html>sign in</html>" * 10, "92 c6"),
    "a header that is no map": (framed(msgpack.packb([1, 2])), "map"),
    "a header longer than allowed": (framed(b"", 2**32 - 1), "at most"),
    "a header that says more than comes": (framed(b"abc", 16 * 2**20), "short"),
    "a header that says less than it has": (framed(HEADER, 10), "begins with the byte c6"),
    "a payload longer than allowed": (framed(msgpack.packb({"protocol": 1, "kind": "ping"}), None, 2**31), "at most"),
    "a ping of 1 GiB": (framed(msgpack.packb({"protocol": 1, "kind": "ping"}), None, 2**30), "no payload"),
    "an end of 1 GiB": (
        framed(msgpack.packb(messages.End(0, 8, "complete").header()), None, 2**30),
        "no payload",
    ),
    "a batch of 1 GiB": (framed(HEADER, None, 2**30), "bytes"),
    "a count that fits no tensor": (with_header(count=2**20), "tensors"),
    "a count beyond all": (with_header(count=2**40), "count"),
    "tensors of another plan": (other_plan(), "tensors"),
    "tensors left out": (with_header(tensors=[]), "tensors"),
    "tensors that overlap": (
        with_header(
            tensors=[{"name": "image", "dtype": "uint8", "shape": [4, 4, 4, 3], "offset": 0, "length": 192}] * 2
        ),
        "tensors",
    ),
    "strings that are too few": (with_header(strings={"key": ["a"]}), "4 strings"),
    "strings that are none": (with_header(strings={"key": [1, 2, 3, 4]}), "strings"),
    "another protocol": (with_header(protocol=2), "protocol"),
    "an unknown kind": (with_header(kind="gift"), "'gift'"),
    "a kind that is no string": (with_header(kind=7), "kind"),
    "other positions": (batch_frame(4, 4), "0-4 were asked for"),
    "fewer samples": (batch_frame(0, 3), "0-4 were asked for"),
    "another epoch": (with_header(epoch=1), "epoch 1"),
    "another plan": (with_header(plan="plan-2"), "plan-2"),
    "the end in the beginning": (end_frame(0, "draining"), "draining"),
    "a replaced sample out of the batch": (
        with_header(replaced=[{"position": 5, "key": "a", "by": "b", "reason": "c"}]),
        "position",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_an_error_that_names_the_position_and_allocates_nothing(lie: str) -> None:
    data, words = LIES[lie]
    with (
        hostile({"/stream": say_stream(data, cut=True)}) as server,
        headrace.connect(server.url, wait=0) as client,
    ):
        train = client.dataset("made-up", batch_size=4)
        tracemalloc.start()
        try:
            with pytest.raises(headrace.StreamBroken, match="epoch 0, position 0") as error:
                list(train)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert (error.value.epoch, error.value.position) == (0, 0)
    assert words in str(error.value) or (words == "short" and "went away" in str(error.value))
    assert server.url in str(error.value)
    assert "\n" not in str(error.value)
    assert peak < 8 * 2**20


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
@pytest.mark.parametrize(
    ("answer", "position", "received"),
    [
        (say_stream(WHOLE, cut=True), 4, 1),
        (say_stream(WHOLE, batch_frame(4, 4)[:-7], cut=True), 4, 1),
        (say_stream(WHOLE, end_frame(4, "draining")), 4, 1),
    ],
    ids=["between", "within", "drained"],
)
def test_a_stream_that_is_cut_gives_what_came_and_then_an_error_at_the_place(
    answer: Answer, position: int, received: int, version: str
) -> None:
    with hostile({"/stream": answer}, version=version) as server, headrace.connect(server.url, wait=0) as client:
        train = client.dataset("made-up", batch_size=4)
        batches: list[headrace.Batch] = []
        with pytest.raises(headrace.StreamBroken) as error:
            batches.extend(train)
    assert error.value.position == position
    assert len(batches) == received
    assert train.state_dict()["samples"] == 4


@pytest.mark.parametrize(
    "answer",
    [
        say_stream(WHOLE, batch_frame(4, 4), cut=True),
        say_stream(WHOLE, batch_frame(4, 4)),
        say_stream(WHOLE, batch_frame(4, 4), batch_frame(4, 4)),
    ],
    ids=["cut before the end", "no end", "more than the end"],
)
def test_what_comes_after_the_last_batch_harms_nobody(answer: Answer) -> None:
    with hostile({"/stream": answer}) as server, headrace.connect(server.url, wait=0) as client:
        assert [len(batch["key"]) for batch in client.dataset("made-up", batch_size=4)] == [4, 4]


def test_a_flood_of_pings_is_tolerated() -> None:
    answer = say_stream(PING * 20_000, WHOLE, PING * 1000, batch_frame(4, 4), PING * 1000, end_frame())
    with hostile({"/stream": answer}) as server, headrace.connect(server.url, wait=0) as client:
        assert [len(batch["key"]) for batch in client.dataset("made-up", batch_size=4)] == [4, 4]


@pytest.mark.parametrize("before", [b"", WHOLE, WHOLE + PING, WHOLE + b"\x92"])
def test_a_silent_server_is_given_up_at_the_read_timeout(before: bytes) -> None:
    with (
        hostile({"/stream": say_stream(before, Handler.wait)}) as server,
        headrace.connect(server.url, wait=0, read_timeout=0.2) as client,
        pytest.raises(headrace.StreamBroken, match=r"sent nothing for 0\.2 s") as error,
    ):
        list(client.dataset("made-up", batch_size=4))
    assert error.value.position == (4 if before else 0)


def test_a_server_that_does_not_even_begin_to_answer_is_an_error_with_the_position() -> None:
    with (
        hostile({"/stream": Handler.wait}) as server,
        headrace.connect(server.url, wait=0, read_timeout=0.2) as client,
        pytest.raises(headrace.StreamBroken, match=r"epoch 0, position 0.*sent nothing for 0\.2 s"),
    ):
        list(client.dataset("made-up", batch_size=4))


def test_an_error_frame_says_which_sample_failed() -> None:
    failure = messages.Failure("sample-unavailable", "cat/1.png: read:\nvanished", 0, 5, "cat/1.png", True)
    with (
        hostile({"/stream": say_stream(WHOLE, plain_frame(failure))}) as server,
        headrace.connect(server.url, wait=0) as client,
        pytest.raises(headrace.SampleFailed, match=r"position 5: cat/1\.png: read: vanished") as error,
    ):
        list(client.dataset("made-up", batch_size=4))
    assert (error.value.position, error.value.key) == (5, "cat/1.png")


def test_a_server_that_got_other_decoders_in_the_middle_of_a_run_is_not_mixed_in() -> None:
    with (
        hostile({"/stream": say_stream(WHOLE, batch_frame(4, 4, engine="engine-2"), end_frame())}) as server,
        headrace.connect(server.url, wait=0) as client,
        pytest.raises(headrace.DataChanged, match=r"engine-2.*engine-1"),
    ):
        list(client.dataset("made-up", batch_size=4))


def test_unknown_keys_of_a_header_are_ignored() -> None:
    stream = say_stream(batch_frame(0, 4, mood="fine"), batch_frame(4, 4), end_frame())
    with hostile({"/stream": stream}) as server, headrace.connect(server.url, wait=0) as client:
        assert len(list(client.dataset("made-up", batch_size=4))) == 2
