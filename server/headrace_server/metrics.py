"""What operators watch, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from headrace_proto import messages

from .budget import Budget
from .frames import Frame

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The server's counters and gauges, in a registry of their own."""

    def __init__(self, budget: Budget, open_streams: Callable[[], int]) -> None:
        registry = self._registry = CollectorRegistry()
        dataset = ["dataset"]
        self._batches = Counter("headrace_batches", "Batches sent", dataset, registry=registry)
        self._samples = Counter("headrace_samples", "Samples sent", dataset, registry=registry)
        self._bytes = Counter("headrace_sent_bytes", "Bytes of frames sent", dataset, registry=registry)
        self._replaced = Counter(
            "headrace_replaced", "Samples that cannot be decoded, sent replaced", dataset, registry=registry
        )
        self._failures = Counter("headrace_failures", "Batches that failed", [*dataset, "code"], registry=registry)
        Gauge("headrace_streams", "Streams open now", registry=registry).set_function(open_streams)
        used = Gauge("headrace_memory_used_bytes", "Bytes that work ahead has taken", registry=registry)
        used.set_function(lambda: budget.used)
        Gauge("headrace_memory_bytes", "Bytes that work ahead may take", registry=registry).set(budget.total)

    def count(self, frame: Frame, dataset: str) -> None:
        """Counts a frame that was sent."""
        self._bytes.labels(dataset).inc(frame.nbytes)
        if isinstance(frame.message, messages.Batch):
            self._batches.labels(dataset).inc()
            self._samples.labels(dataset).inc(frame.message.count)
            self._replaced.labels(dataset).inc(len(frame.message.replaced))
        elif isinstance(frame.message, messages.Failure):
            self.failed(dataset, frame.message.code)

    def failed(self, dataset: str, code: str) -> None:
        """Counts a batch that an error took the place of."""
        self._failures.labels(dataset, code).inc()

    def text(self) -> bytes:
        return generate_latest(self._registry)
