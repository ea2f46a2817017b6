"""A batch in the making: its samples are read and decoded in runs, by many threads, into one buffer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace_proto import arrays, frame, messages

from .errors import SampleError
from .fairness import FairPool
from .index import text_of
from .logs import logger
from .plans import KEY, LABEL, ResolvedPlan
from .reading import Reader
from .samples import Made, SampleMaker

_DECODE_RUN = 8
"""Samples that one task decodes: enough to make the hand-over cheap, few enough to share a batch between threads."""


@dataclass(frozen=True)
class Frame:
    """A finished frame: what it says, the bytes of it before the payload, and the payload (or None)."""

    message: messages.Message
    head: bytes
    payload: memoryview | None = None

    @property
    def nbytes(self) -> int:
        return len(self.head) + (0 if self.payload is None else self.payload.nbytes)


def plain_frame(message: messages.Message, *, checksum: bool) -> Frame:
    """A frame without a payload."""
    return Frame(message, frame.pack_head(message.header(), checksum=checksum))


@dataclass(frozen=True)
class Workshop:
    """The threads that make batches, and the bound on an image's pixels."""

    reader: Reader
    decoders: FairPool
    max_pixels: int


@dataclass(frozen=True)
class Address:
    """Where a batch stands: positions [start, stop) of one epoch of a plan, and whether its frame has a checksum."""

    plan: ResolvedPlan
    epoch: int
    start: int
    stop: int
    checksum: bool = False


class Assembly:
    """One batch in the making. `begin` starts it; `on_done` is called once, from a worker thread, unless cancelled.

    Afterwards either `frame` is there, or `failure` is: the error of the first sample, by position, that failed.
    """

    def __init__(self, address: Address, workshop: Workshop, client: str, on_done: Callable[[], None]) -> None:
        self.address = address
        self.frame: Frame | None = None
        self.failure: messages.Failure | None = None
        self.cancelled = False
        self._workshop, self._client, self._on_done = workshop, client, on_done
        self._maker = SampleMaker(address.plan, address.epoch, workshop.max_pixels)
        self._lock = threading.Lock()
        self._count = self._left = address.stop - address.start
        self._errors: dict[int, Exception] = {}
        self._replaced: dict[int, Made] = {}

    @property
    def done(self) -> bool:
        return self.frame is not None or self.failure is not None

    def begin(self) -> None:
        """Returns at once; everything happens in the workshop's threads."""
        self._workshop.reader.submit(self._client, self._prepare)

    def cancel(self) -> None:
        """Drops all work that has not begun."""
        self.cancelled = True

    def _prepare(self) -> None:
        """Finds the samples, makes room for them, and has them read."""
        if self.cancelled:
            return
        try:
            plan, count = self.address.plan, self._count
            self._ids = plan.order(self.address.epoch).samples(self.address.start, self.address.stop)
            self._tensors, nbytes = arrays.describe(plan.info.outputs, count)
            self._payload = _zero_gaps(_aligned(nbytes), self._tensors)
            self._columns = arrays.views(self._tensors, self._payload.data)
            self._blobs: list[bytes | None] = [None] * count
            if LABEL in plan.info.outputs:
                self._columns[LABEL.name][:] = plan.index.labels(self._ids)
        except Exception as error:  # noqa: BLE001 - it becomes the batch's failure
            self._errors[0] = error
            self._count_down(self._count)
            return
        run = self._workshop.reader.run
        for first in range(0, count, run):
            last = min(first + run, count)
            self._workshop.reader.submit(self._client, partial(self._read, first, last))

    def _read(self, first: int, last: int) -> None:
        failed = 0
        for i in range(first, last):
            if self.cancelled:
                return
            try:
                self._blobs[i] = self._read_sample(int(self._ids[i]))
            except Exception as error:  # noqa: BLE001 - it becomes the batch's failure
                self._errors[i] = error
                failed += 1
        if failed:
            self._count_down(failed)
        for start in range(first, last, _DECODE_RUN):
            stop = min(start + _DECODE_RUN, last)
            self._workshop.decoders.submit(self._client, partial(self._decode, start, stop))

    def _read_sample(self, sample: int) -> bytes:
        plan = self.address.plan
        return self._workshop.reader.read(plan.dataset.source, plan.info.split, sample)

    def _decode(self, first: int, last: int) -> None:
        images, done = self._columns[self.address.plan.pipeline.output.name], 0
        for i in range(first, last):
            if self.cancelled:
                return
            data, self._blobs[i] = self._blobs[i], None
            if data is None:  # its read failed, and was counted
                continue
            done += 1
            try:
                made = self._maker.make(int(self._ids[i]), data, images[i], self._read_sample)
            except Exception as error:  # noqa: BLE001 - it becomes the batch's failure
                self._errors[i] = error
                continue
            if made.reason is not None:
                self._replaced[i] = made
        if done:  # reads that failed were counted when they did
            self._count_down(done)

    def _count_down(self, done: int) -> None:
        with self._lock:
            self._left -= done
            finished = self._left == 0
        if finished and not self.cancelled:
            try:
                if not self._errors:
                    self.frame = self._pack()
            except Exception as error:  # noqa: BLE001 - it becomes the batch's failure
                self._errors[0] = error
            if self._errors:
                self.failure = self._describe(*min(self._errors.items()))
            self._on_done()

    def _pack(self) -> Frame:
        plan, info = self.address.plan, self.address.plan.info
        keys = [text_of(key) for key in plan.index.keys(self._ids.tolist())]
        replaced = []
        for i, made in sorted(self._replaced.items()):
            assert made.reason is not None
            key, by = keys[i], text_of(plan.index.key(made.sample))
            replaced.append(messages.Replaced(self.address.start + i, key[0], by[0], made.reason))
            keys[i] = by
            if LABEL in info.outputs:
                self._columns[LABEL.name][i] = plan.index.labels(np.array([made.sample]))[0]
        escaped = [i for i, (_, is_escaped) in enumerate(keys) if is_escaped]
        batch = messages.Batch(
            plan=info.id,
            engine=info.engine,
            epoch=self.address.epoch,
            start=self.address.start,
            count=self._count,
            tensors=self._tensors,
            strings={KEY.name: [text for text, _ in keys]},
            escaped={KEY.name: escaped} if escaped else {},
            replaced=replaced,
        )
        payload = self._payload.data
        return Frame(batch, frame.pack_head(batch.header(), [payload], checksum=self.address.checksum), payload)

    def _describe(self, i: int, error: Exception) -> messages.Failure:
        epoch, position = self.address.epoch, self.address.start + i
        if isinstance(error, SampleError):
            return messages.Failure(error.code, str(error), epoch, position, error.key, error.retry)
        logger.error("a batch failed", plan=self.address.plan.info.id, epoch=epoch, position=position, exc_info=error)
        return messages.Failure("server", f"the server failed: {error!r}", epoch, position, retry=True)


def _aligned(nbytes: int) -> NDArray[np.uint8]:
    """A buffer that begins at a multiple of 64, as vector instructions like it."""
    room = np.empty(nbytes + frame.ALIGNMENT, np.uint8)
    skip = -room.ctypes.data % frame.ALIGNMENT
    return room[skip : skip + nbytes]


def _zero_gaps(payload: NDArray[np.uint8], tensors: list[dict[str, Any]]) -> NDArray[np.uint8]:
    """Every byte of a frame is a function of its address, the padding too."""
    end = 0
    for tensor in tensors:
        payload[end : tensor["offset"]] = 0
        end = tensor["offset"] + tensor["length"]
    return payload
