"""What making batches needs: threads, what was made already, bounds, and somebody who counts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace_proto.buffers import BufferPool

from .cache import ImageCache
from .decode import Bounds
from .fairness import FairPool
from .lending import Lending
from .reading import Reader
from .troubles import Troubles

_RUN_SECONDS = 0.004
_SHORTEST_RUN, _LONGEST_RUN = 8, 64
_SMOOTHING = 0.1

Count = Callable[[int], object]


def ignored(count: int) -> None:
    """Nobody counts."""


class Counts:
    """How samples came into batches: made (decoded, or from the cache, and transformed), or copied from another batch.

    `on_made` and `on_shared` are told of each number. Safe to use from many threads.
    """

    def __init__(self, on_made: Count = ignored, on_shared: Count = ignored) -> None:
        self.made = self.shared = 0
        self._on_made, self._on_shared = on_made, on_shared
        self._lock = threading.Lock()

    def add_made(self, count: int) -> None:
        with self._lock:
            self.made += count
        self._on_made(count)

    def add_shared(self, count: int) -> None:
        with self._lock:
            self.shared += count
        self._on_shared(count)


class Runs:
    """How many samples a task should decode, one after the other: as many as take some milliseconds.

    That is enough to make the hand-over between threads cheap, and few enough to share a batch between them.
    """

    def __init__(self) -> None:
        self._mean_seconds = _RUN_SECONDS / _SHORTEST_RUN

    @property
    def length(self) -> int:
        return max(_SHORTEST_RUN, min(_LONGEST_RUN, int(_RUN_SECONDS / self._mean_seconds)))

    def took(self, samples: int, seconds: float) -> None:
        """So many samples took so many seconds of work."""
        self._mean_seconds += _SMOOTHING * (seconds / samples - self._mean_seconds)


@dataclass(frozen=True)
class Workshop:
    """What making batches needs: threads, what other batches and epochs have made already, and bounds."""

    reader: Reader
    decoders: FairPool
    lending: Lending
    cache: ImageCache
    bounds: Bounds
    runs: Runs = field(default_factory=Runs)
    counts: Counts = field(default_factory=Counts)
    troubles: Troubles = field(default_factory=Troubles)
    buffers: BufferPool = field(default_factory=BufferPool)
