"""The server without its HTTP: what is served, the plans posted, and the threads that make batches."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path

from headrace_proto import checks
from headrace_proto.buffers import BufferPool
from headrace_proto.frame import MAX_ENTRIES

from .address import Address
from .assembly import assemble
from .budget import Budget
from .cache import ImageCache
from .catalog import Catalog, open_dataset
from .decode import Bounds
from .fairness import FairPool
from .frames import Frame
from .lending import Lending
from .metrics import Metrics
from .plan_files import PlanFiles
from .plans import PlanStore, ResolvedPlan
from .problems import Problem
from .reading import Reader
from .settings import Settings
from .sources.saved import SavedIndexes
from .streams import Stream, StreamLimits, StreamRequest
from .transforms.custom import CustomTransforms
from .troubles import Troubles
from .workshop import Counts, Workshop
from .worktime import work_seconds

_CLOSE_SECONDS = 1.0
"""How long the end of the server waits for a read or a transform that hangs."""


@dataclass(frozen=True)
class Holdings:
    """What is served, and by which transforms: read once, and the same in all processes."""

    catalog: Catalog
    custom: CustomTransforms

    @classmethod
    def open(cls, settings: Settings, progress: Callable[[str, int], None]) -> Holdings:
        """Reads the folders. Raises ConfigurationError."""
        custom = CustomTransforms.load(settings.custom_transforms)
        saved = None if settings.index_dir is None else SavedIndexes(settings.index_dir, settings.rescan)
        catalog = Catalog(
            open_dataset(name, dataset, custom, progress, saved) for name, dataset in settings.all_datasets().items()
        )
        return cls(catalog, custom)


class Service:
    """Everything that the requests to one process share."""

    def __init__(self, settings: Settings, holdings: Holdings, shared: Path | None = None) -> None:
        """Several processes share the directory `shared`: the plans posted to one, and metrics, are those of all."""
        self.settings = settings
        self.catalog, self.custom = holdings.catalog, holdings.custom
        bounds = Bounds(settings.max_pixels, settings.max_file_bytes)
        self.plans = PlanStore(self.catalog, self.custom, None if shared is None else PlanFiles(shared), bounds)
        self.troubles = Troubles(shared)
        self.draining = asyncio.Event()
        self.metrics = Metrics(shared)
        reader = Reader(settings.read_threads, settings.read_retries, settings.read_timeout)
        self._workshop = Workshop(
            reader=reader,
            # A thread that hangs in a read is made up for by another. Charged is work: a task that had to wait for a
            # core or for the lock would otherwise set its client back by seconds.
            decoders=FairPool(
                "headrace-decode", lambda: settings.decode_threads + reader.hanging_elsewhere, work_seconds
            ),
            lending=Lending(settings.share_mb * 2**20),
            cache=ImageCache(settings.cache_mb * 2**20),
            buffers=BufferPool(most_bytes=settings.memory_bytes),
            bounds=bounds,
            counts=Counts(self.metrics.made, self.metrics.shared),
            troubles=self.troubles,
        )
        reader.watch.on_hanging.append(self._workshop.decoders.nudge)
        budget = Budget(settings.memory_bytes, self.metrics.memory_used)
        self._limits = StreamLimits(settings.queue_batches, budget, settings.ping_seconds)
        self.metrics.memory(settings.memory_bytes)
        self.open_streams = 0

    def drain(self) -> None:
        """Takes no more streams, and ends those that are open after the batch in hand."""
        self.draining.set()

    def close(self) -> None:
        """Waits for the threads' running tasks, but not for ever."""
        self._workshop.reader.close(_CLOSE_SECONDS)
        self._workshop.decoders.close(_CLOSE_SECONDS)
        self.troubles.close()

    def stream(self, request: StreamRequest, client: str) -> AsyncGenerator[Frame, None]:
        """The frames of a stream. Raises Problem before the first where the request is out of bounds."""
        samples = request.plan.samples
        self._refuse_when_draining()
        if self.open_streams >= self.settings.max_streams:
            detail = f"{self.open_streams} streams are open, and this server takes no more (its option max_streams)"
            raise Problem(503, "full", f"{detail}; come again when one has ended", code="full")
        _within("start", request.start, samples)
        _within("stop", request.stop, samples)
        _check_batch(request.plan, request.epoch, request.count, self.settings)
        _integer("stride", request.stride, 1)
        stream = Stream(request, self._workshop, self._limits, client, self.draining)
        return self._counted(stream.frames(), request.plan.dataset.name)

    async def _counted(self, frames: AsyncGenerator[Frame, None], dataset: str) -> AsyncGenerator[Frame, None]:
        self._count_streams(1)
        try:
            async with contextlib.aclosing(frames):
                async for frame in frames:
                    yield frame
                    self.metrics.count(frame, dataset)  # it has been sent
        finally:
            self._count_streams(-1)

    def _count_streams(self, more: int) -> None:
        self.open_streams += more
        self.metrics.streams(self.open_streams)

    def check(self, address: Address) -> None:
        """Raises Problem where there is no such batch."""
        _within("start", address.start, address.plan.samples)
        _within("stop", address.stop, address.plan.samples)
        _check_batch(address.plan, address.epoch, address.stop - address.start, self.settings)

    async def slice(self, address: Address, client: str) -> Frame:
        """One batch. Raises Problem where there is none, and where one of its samples fails."""
        self.check(address)
        self._refuse_when_draining()
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def on_done() -> None:
            loop.call_soon_threadsafe(done.set)

        assembly = assemble(address, self._workshop, client, on_done)
        try:
            if not assembly.done:
                await done.wait()
        finally:
            assembly.ignore(on_done)
            self._workshop.lending.release(assembly)
        if assembly.failure is not None:
            failure = assembly.failure
            self.metrics.failed(address.plan.dataset.name, failure.code)
            status = 503 if failure.retry else 500
            raise Problem(status, "sample failed", failure.message, code=failure.code, key=failure.key)
        assert assembly.frame is not None
        self.metrics.count(assembly.frame, address.plan.dataset.name)
        return assembly.frame

    def _refuse_when_draining(self) -> None:
        if self.draining.is_set():
            raise Problem(503, "draining", "this server is shutting down; ask another, or again later")


def _check_batch(plan: ResolvedPlan, epoch: int, count: int, settings: Settings) -> None:
    """Raises Problem (422) unless a batch of `count` samples is one that the server makes."""
    _integer("epoch", epoch, 0)
    _integer("count", count, 1)
    nbytes = plan.batch_bytes(count)
    if nbytes > settings.max_batch_bytes or count > MAX_ENTRIES:
        most = min(settings.max_batch_bytes // plan.batch_bytes(1), MAX_ENTRIES)
        raise Problem(
            422,
            "batch too large",
            f"{count} samples of this plan have {nbytes} bytes; this server allows {settings.max_batch_bytes}, "
            f"which is {most} samples (its option max_batch_mb)",
            most_samples=most,
        )


def _integer(name: str, value: int, low: int) -> None:
    try:
        checks.integer(name, value, low)
    except ValueError as error:
        raise Problem(422, "out of bounds", str(error)) from error


def _within(name: str, value: int, samples: int) -> None:
    if not 0 <= value <= samples:
        detail = f"{name} is {value}; an epoch of this plan has the positions 0 to {samples}"
        raise Problem(416, "beyond the epoch", detail, samples=samples)
