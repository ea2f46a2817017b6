"""Fetching a rank's batches from a server, one after the other."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from headrace_proto import checks, messages
from headrace_proto.buffers import BufferPool
from headrace_proto.frame import FrameError
from headrace_proto.plan import Plan, PlanInfo

from .batch import Batch, columns_of
from .endpoint import HTTPX_ERRORS, Endpoint
from .errors import ConnectionFailed, DataChanged, RequestRefused, SampleFailed, StreamBroken, one_line
from .frames import FrameReader, read_into
from .pace import Pace
from .positions import Position, Sharding, Slice
from .servers import Servers

VALID = "valid"
"""The column that "pad" adds: bool, False for a sample that fills up the last batch."""


@dataclass(frozen=True)
class Order:
    """What to fetch, and for which rank."""

    plan: Plan
    info: PlanInfo
    sharding: Sharding
    checksum: bool = False
    buffers: BufferPool = field(default_factory=BufferPool)


class Fetcher:
    """Fetches batches from servers. `stop`, from any thread, ends it within moments, also while it waits."""

    def __init__(self, servers: Servers, order: Order, pace: Pace) -> None:
        self.servers, self.sharding, self.pace = servers, order.sharding, pace
        self._order = order
        self._responses: list[httpx.Response] = []
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True
        for response in list(self._responses):
            if "abort" in response.extensions:
                response.extensions["abort"]()

    def stream(
        self, endpoint: Endpoint, first: Slice, stop: int, stride: int
    ) -> contextlib.AbstractContextManager[Frames]:
        """Opens a server's stream of batches: `first`, then each `stride` positions later, up to `stop`."""
        query = {
            "epoch": first.epoch,
            "start": first.start,
            "count": self.sharding.batch_size,
            "stride": stride,
            "stop": stop,
        }
        path = f"/v1/plans/{self._order.info.id}/stream"
        return self._reading(endpoint, path, Position(first.epoch, first.start), **query)

    def batch(self, frames: Frames, place: Slice, *, alone: bool) -> Batch:
        """The next batch of a stream, which must be the one of this place; `alone` if there is no other server."""
        message, payload = frames.batch(place.start, place.stop, alone=alone)
        return self._marked(Batch.of(columns_of(message, payload), place.after, message.replaced), place)

    def padded(self, endpoint: Endpoint, place: Slice) -> Batch:
        """A batch that goes on with samples from the epoch's beginning; "valid" is False for them."""
        pieces = self.sharding.pieces(place.start, place.stop)
        made = {piece: self._slice(endpoint, place.epoch, *piece) for piece in dict.fromkeys(pieces)}
        batches = [made[piece] for piece in pieces]
        columns = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        within = place.start < self.sharding.samples
        return self._marked(Batch.of(columns, place.after, batches[0].replaced if within else ()), place)

    def _marked(self, batch: Batch, place: Slice) -> Batch:
        """Under "pad" every batch says which of its samples are no repetitions."""
        if self.sharding.tail == "pad":
            batch[VALID] = np.arange(place.start, place.stop) < self.sharding.samples
        return batch

    def _slice(self, endpoint: Endpoint, epoch: int, start: int, stop: int) -> Batch:
        path = f"/v1/plans/{self._order.info.id}/epochs/{epoch}/slices/{start}-{stop}"
        with self._reading(endpoint, path, Position(epoch, start)) as frames:
            message, payload = frames.batch(start, stop)
            return Batch.of(columns_of(message, payload), Position(epoch, stop), message.replaced)

    @contextlib.contextmanager
    def _reading(self, endpoint: Endpoint, path: str, at: Position, **query: Any) -> Iterator[Frames]:
        """Opens a response for reading frames; the plan is posted again where the server has forgotten it."""
        query["checksum"] = "crc32" if self._order.checksum else None
        with contextlib.ExitStack() as stack:
            try:
                response = self._opened(stack, endpoint, path, query)
            except ConnectionFailed as error:
                raise StreamBroken(str(error), *at) from error
            self._responses.append(response)
            try:
                if self.stopped:  # between the look at `_responses` in `stop` and here
                    raise StreamBroken("stopped", *at)
                order = self._order
                reader = FrameReader(
                    read_into(response), order.info.outputs, checksum=order.checksum, buffers=order.buffers
                )
                ready = response.extensions.get("ready", _nobody_knows)
                yield Frames(reader, endpoint, self._order.info, at, ready)
            finally:
                self._responses.remove(response)

    def _opened(
        self, stack: contextlib.ExitStack, endpoint: Endpoint, path: str, query: dict[str, Any]
    ) -> httpx.Response:
        try:
            return stack.enter_context(endpoint.open(path, **query))
        except RequestRefused as error:
            if error.code != "unknown-plan":
                raise
            endpoint.expect_plan(self._order.plan, self._order.info)
            return stack.enter_context(endpoint.open(path, **query))


class Frames:
    """The frames of one response, as the batches that were asked for."""

    def __init__(
        self, reader: FrameReader, endpoint: Endpoint, info: PlanInfo, at: Position, ready: Callable[[], bool]
    ) -> None:
        """`ready()` says whether something has come that was not read yet."""
        self._reader, self._endpoint, self._info, (self._epoch, self._position) = reader, endpoint, info, at
        self.ready = ready

    def batch(self, start: int, stop: int, *, alone: bool = True) -> tuple[messages.Batch, memoryview]:
        """The next frame, which must be the batch of these positions; it may come slowly if the server is alone."""
        self._position = start
        message, payload = self._next(math.inf if alone else self._endpoint.options.stall_timeout)
        if not isinstance(message, messages.Batch):
            raise self._broken(f"the server ended the stream ({_reason(message)}) before its end")
        if (message.epoch, message.start, message.count) != (self._epoch, start, stop - start):
            raise self._broken(
                f"the positions {start}-{stop} were asked for, the frame has {message.count} samples from "
                f"{message.start} of epoch {message.epoch}"
            )
        if message.plan != self._info.id:
            raise self._broken(f"the plan {self._info.id} was asked for, the frame is of {checks.found(message.plan)}")
        if message.engine != self._info.engine:
            raise DataChanged(
                f"{self._endpoint.name} now decodes with {checks.found(message.engine)}, before with "
                f"{self._info.engine}: two decoders are not mixed in one run; go on from a saved state in a new one"
            )
        return message, payload

    def end(self, position: int) -> None:
        """The next frame, which must be the stream's end."""
        self._position = position
        message, _ = self._next()
        if not isinstance(message, messages.End):
            raise self._broken("an end frame was expected, and more came")

    def _next(self, seconds: float = math.inf) -> tuple[messages.Message, memoryview]:
        """The next frame that is no ping; each may take so many seconds."""
        began = time.monotonic()
        while True:
            try:
                message, payload = self._reader.read(seconds)
            except (FrameError, EOFError, TimeoutError) as error:
                raise self._broken(str(error)) from error
            except HTTPX_ERRORS as error:  # their failure names the server itself
                raise StreamBroken(str(self._endpoint.failure(error)), self._epoch, self._position) from error
            if isinstance(message, messages.Failure):
                raise SampleFailed(
                    one_line(message.message), message.epoch, message.position, message.key, retry=message.retry
                )
            if not isinstance(message, messages.Ping):
                return message, payload
            if (waited := time.monotonic() - began) > self._endpoint.options.stall_timeout:
                raise self._broken(f"it is alive, and made no batch for {waited:.0f} s")

    def _broken(self, reason: str) -> StreamBroken:
        return StreamBroken(f"{self._endpoint.name}: {reason}", self._epoch, self._position)


def _nobody_knows() -> bool:
    """Whether something has come through a proxy: it may have."""
    return True


def _reason(message: messages.Message) -> str:
    return f"reason {message.reason!r}" if isinstance(message, messages.End) else "unasked"
