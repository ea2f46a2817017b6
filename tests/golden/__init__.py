"""Frames of protocol 1 as bytes, and what they say. The bytes never change; a change of format gets a new folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrace_proto import arrays, frame, messages
from headrace_proto.plan import Output

FOLDER = Path(__file__).parent / "protocol-1"
OUTPUTS = (Output("image", "uint8", (2, 2, 3)), Output("label", "int64", ()), Output("key", "str", ()))
IMAGES = np.arange(24, dtype="u1").reshape(2, 2, 2, 3)
LABELS = np.array([1, 258], dtype="<i8")


@dataclass(frozen=True)
class Golden:
    """A frame's message, its payload and whether it carries a checksum."""

    message: messages.Message
    payload: bytes = b""
    checksum: bool = False

    def packed(self) -> bytes:
        return frame.pack_head(self.message.header(), [self.payload], checksum=self.checksum) + self.payload


def payload(outputs: Sequence[Output] = OUTPUTS) -> bytes:
    """The tensors' bytes, each at a multiple of 64."""
    images = IMAGES.tobytes()
    return images.ljust(frame.aligned(len(images)), b"\0") + LABELS.tobytes()


def batch(
    keys: Sequence[str] = ("cat/1.png", "dog/2.png"),
    escaped: dict[str, list[int]] | None = None,
    replaced: Sequence[messages.Replaced] = (),
) -> messages.Batch:
    return messages.Batch(
        plan="p1",
        engine="simplejpeg-1.9.0_opencv-5.0.0",
        epoch=3,
        start=64,
        count=2,
        tensors=arrays.describe(OUTPUTS, 2)[0],
        strings={"key": list(keys)},
        escaped=escaped or {},
        replaced=replaced,
    )


FRAMES = {
    "batch": Golden(batch(), payload()),
    "batch-full": Golden(
        batch(
            keys=("cat/1.png", "dog/\\xff.png"),
            escaped={"key": [1]},
            replaced=(messages.Replaced(65, "dog/2.png", "dog/\\xff.png", "truncated after 100 bytes"),),
        ),
        payload(),
        checksum=True,
    ),
    "end": Golden(messages.End(epoch=3, next=66, reason=messages.COMPLETE)),
    "error": Golden(
        messages.Failure(
            "sample-unavailable",
            "flowers (train): dog/3.png: read: gone",
            epoch=3,
            position=66,
            key="dog/3.png",
            retry=True,
        )
    ),
    "ping": Golden(messages.Ping()),
}


def stored(name: str) -> bytes:
    return (FOLDER / f"{name}.frame").read_bytes()
