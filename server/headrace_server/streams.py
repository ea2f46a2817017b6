"""A stream of batches: made ahead in order, as far as its window and the budget allow."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass

from headrace_proto import messages

from .address import Address
from .assembly import Assembly, assemble
from .budget import Budget
from .frames import Frame, plain_frame
from .plans import ResolvedPlan
from .workshop import Workshop

_FIRST_WINDOW = 2
"""Batches: one is sent while the next is made."""


@dataclass(frozen=True)
class StreamRequest:
    """The slices [start + k stride, + count) of an epoch, for k = 0, 1, ..., clipped at `stop`."""

    plan: ResolvedPlan
    epoch: int
    start: int
    count: int
    stride: int
    stop: int
    checksum: bool = False

    def addresses(self) -> Iterator[Address]:
        for start in range(self.start, self.stop, self.stride):
            yield Address(self.plan, self.epoch, start, min(start + self.count, self.stop), self.checksum)


@dataclass(frozen=True)
class StreamLimits:
    """How far a stream may work ahead, and how it waits."""

    window: int
    """Most batches."""
    budget: Budget
    """Bytes that all streams share, beyond one batch reserved for each."""
    ping_seconds: float


@dataclass
class _Ahead:
    """A batch that is being made, and the bytes that it took from the budget: for itself, and for what it reads."""

    assembly: Assembly
    taken: int
    reading: int


class Stream:
    """The frames of one request, in order. Lives on the event loop; the work is done in the workshop's threads."""

    def __init__(
        self, request: StreamRequest, workshop: Workshop, limits: StreamLimits, client: str, draining: asyncio.Event
    ) -> None:
        self.request = request
        self._workshop, self._limits, self._client, self._draining = workshop, limits, client, draining
        self._addresses = request.addresses()
        self._next: Address | None = next(self._addresses, None)
        self._ahead: deque[_Ahead] = deque()
        self._held = 0
        """Bytes of the budget."""
        # Work ahead is made at the cost of all. It begins small and grows with what the client takes, so that streams
        # that nobody reads cost little; only storage whose latency must be hidden is read ahead at once.
        self._window = min(_FIRST_WINDOW, limits.window) if workshop.reader.quick else limits.window
        self._key = request.plan.info.id, request.epoch
        self._loop = asyncio.get_running_loop()
        self._progress = asyncio.Event()

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """Every batch in order and then an `end` frame; or an `error` frame as the last."""
        position = self.request.start
        self._workshop.lending.join(self._key)
        try:
            while self._fill():
                if self._draining.is_set():
                    yield self._end(position, messages.DRAINING)
                    return
                head = self._ahead[0].assembly
                while not head.done:
                    if not await self._made_progress():
                        yield self._plain(messages.Ping())
                if head.failure is not None:
                    yield self._plain(head.failure)
                    return
                assert head.frame is not None
                yield head.frame
                self._drop(self._ahead.popleft())
                self._window = min(self._window + 1, self._limits.window)
                position = head.address.start + self.request.stride
            yield self._end(self.request.stop, messages.COMPLETE)
        finally:  # all work ahead is dropped at once
            while self._ahead:
                self._drop(self._ahead.pop())
            self._workshop.lending.leave(self._key)

    def _fill(self) -> bool:
        """Begins as many batches as fit; one at least. False when there are none left."""
        while self._next is not None and len(self._ahead) < self._window:
            size, reading = self._cost(self._next) if self._ahead else (0, 0)  # the first is the one reserved
            if size and not self._limits.budget.take(size + reading, self._held):
                break
            self._held += size + reading
            assembly = assemble(self._next, self._workshop, self._client, self._on_done)
            self._ahead.append(_Ahead(assembly, size, reading))
            self._next = next(self._addresses, None)
        return bool(self._ahead)

    def _cost(self, address: Address) -> tuple[int, int]:
        """Bytes of a batch, and of the encoded samples until it is made."""
        count = address.stop - address.start
        return address.plan.batch_bytes(count), count * address.plan.mean_size

    def _drop(self, ahead: _Ahead) -> None:
        ahead.assembly.ignore(self._on_done)
        self._workshop.lending.release(ahead.assembly)
        self._give_back(ahead.taken + ahead.reading)

    def _give_back(self, nbytes: int) -> None:
        self._held -= nbytes
        self._limits.budget.give_back(nbytes)

    def _end(self, position: int, reason: str) -> Frame:
        return self._plain(messages.End(self.request.epoch, position, reason))

    def _plain(self, message: messages.Message) -> Frame:
        return plain_frame(message, checksum=self.request.checksum)

    def _on_done(self) -> None:
        if not self._loop.is_closed():  # a batch may be finished after the server has ended
            self._loop.call_soon_threadsafe(self._advance)

    def _advance(self) -> None:
        """A batch is done: what it took for reading serves others, also while this stream's client takes nothing."""
        self._progress.set()
        for ahead in self._ahead:
            if ahead.reading and ahead.assembly.done:
                self._give_back(ahead.reading)
                ahead.reading = 0
        if self._ahead:
            self._fill()

    async def _made_progress(self) -> bool:
        """Waits until a batch is done, and says whether one was before it is time for a ping."""
        self._progress.clear()
        if self._ahead[0].assembly.done:
            return True
        try:
            await asyncio.wait_for(self._progress.wait(), self._limits.ping_seconds)
        except asyncio.TimeoutError:
            return False
        return True
