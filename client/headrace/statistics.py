"""How fast the batches come, and how long the trainer waits for them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Stats:
    """What has been received since the first batch was asked for."""

    batches: int
    images: int
    bytes: int
    seconds: float
    """From when the first batch was asked for until the last one came."""
    waited_seconds: float
    """How much of that the trainer spent waiting for batches."""
    replaced: int
    """Samples that could not be decoded, and were replaced."""
    reconnects: int = 0
    """How often a server failed, and was left out for a while; of all datasets of the client together."""
    troubles: str = ""
    """Which servers are left out now, and why; empty where none is."""

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_second(self) -> float:
        return self.bytes / self.seconds if self.seconds else 0.0

    @property
    def waited_share(self) -> float:
        """From 0, never waited, to 1."""
        return min(1.0, self.waited_seconds / self.seconds) if self.seconds else 0.0

    def __str__(self) -> str:
        return (
            f"{self.images:,} images in {self.seconds:.1f} s: {self.images_per_second:,.0f} images/s, "
            f"{self.bytes_per_second / 1e6:,.1f} MB/s, waited {self.waited_share:.0%} of the time"
            + (f"; left out: {self.troubles}" if self.troubles else "")
        )


class Meter:
    """Counts batches as the trainer receives them. Times are of `time.time`, which TensorFlow's clock is too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self._batches = self._images = self._bytes = self._replaced = 0
        self._waited = 0.0
        self._first = self._last = 0.0

    def received(self, asked: float, images: int, nbytes: int, replaced: int) -> None:
        """A batch that was asked for at `asked` is with the trainer now."""
        now = time.time()
        with self._lock:
            self._first = self._first or asked
            self._last = now
            self._batches += 1
            self._images += images
            self._bytes += nbytes
            self._replaced += replaced
            self._waited += max(0.0, now - asked)

    def stats(self, reconnects: int = 0, troubles: str = "") -> Stats:
        with self._lock:
            seconds = self._last - self._first
            counts = self._batches, self._images, self._bytes
            return Stats(*counts, seconds, self._waited, self._replaced, reconnects, troubles)
