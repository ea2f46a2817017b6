"""What operators watch, for Prometheus."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from headrace_proto import messages

from .frames import Frame

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_GAUGES = "gauge_livesum"
_ROOM = 2**16
"""Bytes of a file of metrics at first; it grows."""


class Metrics:
    """The server's counters and gauges, in a registry of their own; several processes give the sums over them all."""

    def __init__(self, shared: Path | None = None) -> None:
        """`shared` is the directory of this process's numbers and the other processes', see `share_metrics`."""
        registry = self._registry = CollectorRegistry()
        dataset = ["dataset"]
        self._batches = Counter("headrace_batches", "Batches sent", dataset, registry=registry)
        self._samples = Counter("headrace_samples", "Samples sent", dataset, registry=registry)
        self._bytes = Counter("headrace_sent_bytes", "Bytes of frames sent", dataset, registry=registry)
        self._replaced = Counter(
            "headrace_replaced", "Samples that cannot be decoded, sent replaced", dataset, registry=registry
        )
        self._by_dataset: dict[str, tuple[Counter, ...]] = {}
        # What other streams have made already is copied, not made again.
        self.made = Counter("headrace_samples_made", "Samples decoded and transformed", registry=registry).inc
        self.shared = Counter("headrace_samples_shared", "Samples copied from another batch", registry=registry).inc
        self._failures = Counter("headrace_failures", "Batches that failed", [*dataset, "code"], registry=registry)
        # Set when they change: other processes read them from a file, and cannot ask.
        gauge = partial(Gauge, registry=registry, multiprocess_mode="livesum")
        self.streams = gauge("headrace_streams", "Streams open now").set
        self.memory_used = gauge("headrace_memory_used_bytes", "Bytes that work ahead has taken").set
        self.memory = gauge("headrace_memory_bytes", "Bytes that work ahead may take").set
        if shared is not None:
            self._registry = CollectorRegistry()
            MultiProcessCollector(self._registry, str(shared))  # type: ignore[no-untyped-call]

    def count(self, frame: Frame, dataset: str) -> None:
        """Counts a frame that was sent."""
        nbytes, batches, samples, replaced = self._sent(dataset)
        nbytes.inc(frame.nbytes)
        if isinstance(frame.message, messages.Batch):
            batches.inc()
            samples.inc(frame.message.count)
            replaced.inc(len(frame.message.replaced))
        elif isinstance(frame.message, messages.Failure):
            self.failed(dataset, frame.message.code)

    def _sent(self, dataset: str) -> tuple[Counter, ...]:
        """A dataset's own counters of bytes, batches, samples and replaced samples; finding them takes a while."""
        found = self._by_dataset.get(dataset)
        if found is None:
            counters = self._bytes, self._batches, self._samples, self._replaced
            found = self._by_dataset[dataset] = tuple(counter.labels(dataset) for counter in counters)
        return found

    def failed(self, dataset: str, code: str) -> None:
        """Counts a batch that an error took the place of."""
        self._failures.labels(dataset, code).inc()

    def text(self) -> bytes:
        return generate_latest(self._registry)


def share_metrics(shared: Path, number: int) -> None:
    """Lets all metrics that are made from now on be kept in files of process `number`, for every process to read.

    A process that takes the place of one that ended goes on counting where it stopped.
    """
    make_room(shared, number)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(shared)
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]


def make_room(shared: Path, number: int) -> None:
    """Makes the metrics files of a process that are not there: the library's own are empty at first, and unreadable."""
    for kind in ("counter", _GAUGES):
        path = shared / f"{kind}_{number}.db"
        if not path.exists():
            part = path.with_suffix(".part")
            part.write_bytes(bytes(_ROOM))
            part.replace(path)


def forget_gauges(shared: Path, number: int) -> None:
    """What was going on in a process that has ended; its counters stay."""
    mark_process_dead(number, str(shared))  # type: ignore[no-untyped-call]
