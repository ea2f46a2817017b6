"""What making batches needs: threads, what was made already, bounds, and somebody who counts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace_proto.buffers import BufferPool

from .cache import ImageCache
from .fairness import FairPool
from .lending import Lending
from .reading import Reader
from .samples import Bounds
from .troubles import Troubles

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


@dataclass(frozen=True)
class Workshop:
    """What making batches needs: threads, what other batches and epochs have made already, and bounds."""

    reader: Reader
    decoders: FairPool
    lending: Lending
    cache: ImageCache
    bounds: Bounds
    counts: Counts = field(default_factory=Counts)
    troubles: Troubles = field(default_factory=Troubles)
    buffers: BufferPool = field(default_factory=BufferPool)
