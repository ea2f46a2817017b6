"""A bound on memory: bytes that are asked for before they are used, and given back after."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Budget:
    """A number of bytes that many share. Nothing waits for it: who gets none does with what it has reserved."""

    def __init__(self, total: int, on_change: Callable[[int], None] = lambda used: None) -> None:
        """`on_change(used)` is called whenever bytes were taken or given back."""
        self.total = total
        self._on_change = on_change
        self.used = 0
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        """Takes `count` bytes if they are there."""
        with self._lock:
            if self.used + count > self.total:
                return False
            self.used += count
            self._on_change(self.used)
            return True

    def give_back(self, count: int) -> None:
        with self._lock:
            self.used -= count
            self._on_change(self.used)
