"""How fast batches come to this process, and what they cost it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from headrace.statistics import Stats

WARM_UP_SECONDS = 1.0
"""Left out of the figures: connections open, queues fill, and buffers are touched for the first time."""


@dataclass(frozen=True)
class Reading:
    """The counters at one moment, in seconds, batches, images and bytes."""

    clock: float
    cpu: float
    """Of this process, all threads, in user and system mode."""
    stats: Stats

    @classmethod
    def now(cls, stats: Callable[[], Stats]) -> Reading:
        return cls(time.perf_counter(), time.process_time(), stats())


@dataclass(frozen=True)
class Figures:
    """What came between two readings."""

    seconds: float
    batches: int
    images: int
    bytes: int
    cpu_seconds: float
    first_batch_seconds: float
    """From asking for the plan to having the first batch."""

    @classmethod
    def between(cls, first: Reading, last: Reading, first_batch_seconds: float) -> Figures:
        return cls(
            seconds=last.clock - first.clock,
            batches=last.stats.batches - first.stats.batches,
            images=last.stats.images - first.stats.images,
            bytes=last.stats.bytes - first.stats.bytes,
            cpu_seconds=last.cpu - first.cpu,
            first_batch_seconds=first_batch_seconds,
        )

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def megabytes_per_second(self) -> float:
        return self.bytes / 1e6 / self.seconds if self.seconds else 0.0

    @property
    def cpu_us_per_image(self) -> float:
        return self.cpu_seconds * 1e6 / self.images if self.images else 0.0

    @property
    def first_batch_ms(self) -> float:
        return self.first_batch_seconds * 1e3


def measure(
    batches: Iterator[object],
    stats: Callable[[], Stats],
    asked: float,
    seconds: float,
    progress: Callable[[Figures | None], None],
) -> Figures:
    """Takes batches for `seconds` after the warm-up, or until Ctrl-C, and drops them.

    Args:
        batches: endless.
        stats: of the dataset that they are from.
        asked: the time of `time.perf_counter` when the plan was asked for.
        progress: called after every batch with the figures so far, None in the warm-up.

    Raises KeyboardInterrupt where Ctrl-C comes before there are figures.
    """
    next(batches)
    first = last = Reading.now(stats)
    first_batch = first.clock - asked
    warm = first.clock + min(WARM_UP_SECONDS, seconds)
    try:
        while first.clock < warm:
            next(batches)
            first = last = Reading.now(stats)
            progress(None)
        while last.clock < first.clock + seconds:
            next(batches)
            last = Reading.now(stats)
            progress(Figures.between(first, last, first_batch))
    except KeyboardInterrupt:
        if last is first:
            raise
    return Figures.between(first, last, first_batch)
