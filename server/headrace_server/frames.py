"""Finished frames, as they go to the connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace_proto import frame, messages


@dataclass(frozen=True)
class Frame:
    """A finished frame: what it says, the bytes of it before the payload, and the payload in parts."""

    message: messages.Message
    head: bytes
    payload: Sequence[memoryview] = ()

    def parts(self) -> list[bytes | memoryview]:
        """The frame's bytes, as they lie in memory."""
        return [self.head, *self.payload]

    @property
    def nbytes(self) -> int:
        return len(self.head) + sum(part.nbytes for part in self.payload)


def plain_frame(message: messages.Message, *, checksum: bool) -> Frame:
    """A frame without a payload."""
    return Frame(message, frame.pack_head(message.header(), checksum=checksum))
