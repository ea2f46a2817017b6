"""Reading frames from a response: lengths are checked against the plan before anything is allocated."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import httpx

from headrace_proto import frame, messages
from headrace_proto.buffers import BufferPool
from headrace_proto.frame import FrameError
from headrace_proto.plan import Output

ReadInto = Callable[[memoryview], int]
"""Fills the beginning of a buffer and returns how many bytes came; 0 at the stream's end."""
_PIECE = 64 * 1024


def read_into(response: httpx.Response) -> ReadInto:
    """The response's own way to fill a buffer, or one that copies what httpx received."""
    direct: ReadInto | None = response.extensions.get("readinto")
    return direct or _copying(response)


def _copying(response: httpx.Response) -> ReadInto:
    chunks, rest = response.iter_raw(), memoryview(b"")

    def fill(buffer: memoryview) -> int:
        nonlocal rest
        while not rest:
            chunk = next(chunks, None)
            if chunk is None:
                return 0
            rest = memoryview(chunk)
        count = min(len(buffer), len(rest))
        buffer[:count] = rest[:count]
        rest = rest[count:]
        return count

    return fill


class FrameReader:
    """The frames of one response, for a plan with these outputs."""

    def __init__(
        self, fill: ReadInto, outputs: Sequence[Output], *, checksum: bool = False, buffers: BufferPool | None = None
    ) -> None:
        self._fill, self._outputs, self._checksum = fill, outputs, checksum
        self._buffers = buffers or BufferPool()
        self._checked: messages.Batch | None = None
        """A batch that was checked, without what differs from batch to batch: what the next has the same is right."""
        self._deadline = math.inf

    def read(self, seconds: float = math.inf) -> tuple[messages.Message, memoryview]:
        """The next frame's message and payload.

        Raises FrameError for what is no frame, EOFError at a cut, TimeoutError where not all came in so many seconds.
        """
        self._deadline = time.monotonic() + seconds
        header_length = frame.parse_prefix(self._exactly(frame.PREFIX_LENGTH))
        head = memoryview(self._exactly(header_length + frame.INFIX_LENGTH))
        header_bytes, payload_length = head[:header_length], frame.parse_infix(head[header_length:])
        header = frame.parse_header(header_bytes)
        message = messages.parse(header, self._checked)
        if isinstance(message, messages.Batch):
            messages.check_batch(message, self._outputs, payload_length, self._checked)
            if self._checked is None or message.tensors is not self._checked.tensors:
                self._checked = replace(message, strings={}, escaped={}, replaced=())
        elif payload_length:
            raise FrameError(f"a {header['kind']} frame has no payload, this one says {payload_length} bytes")
        payload = self._buffers.get(payload_length).data
        self._fill_whole(payload)
        if self._checksum:
            frame.check(header_bytes, header, payload)
        return message, payload

    def _exactly(self, length: int) -> bytearray:
        """So many bytes, in memory that grows as they come: a length that lies allocates nothing."""
        data = bytearray(min(_PIECE, length))
        self._fill_whole(memoryview(data))
        while len(data) < length:
            piece = bytearray(min(_PIECE, length - len(data)))
            self._fill_whole(memoryview(piece))
            data += piece
        return data

    def _fill_whole(self, buffer: memoryview) -> None:
        filled = 0
        while filled < len(buffer):
            count = self._fill(buffer[filled:] if filled else buffer)
            if not count:
                raise EOFError(f"the stream was cut inside a frame, {len(buffer) - filled} bytes short")
            filled += count
            if filled < len(buffer) and time.monotonic() > self._deadline:
                raise TimeoutError(f"{len(buffer) - filled} bytes of a frame had still to come when its time was up")
