"""A bound on memory: bytes that are asked for before they are used, and given back after."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Budget:
    """A number of bytes that many share. Nothing waits for it: who gets none does with what it has reserved.

    Whoever takes must leave as much as it then holds: one that is alone gets half, n that fill up together 1/(n + 1)
    each, and those that fill up one after the other each half of what the last one left. (Choudhury and Hahne,
    "Dynamic queue length thresholds for shared-memory packet switches", 1998, with a factor of 1.)
    """

    def __init__(self, total: int, on_change: Callable[[int], None] = lambda used: None) -> None:
        """`on_change(used)` is called whenever bytes were taken or given back."""
        self.total = total
        self._on_change = on_change
        self.used = 0
        self._lock = threading.Lock()

    def take(self, count: int, held: int = 0) -> bool:
        """Takes `count` bytes for one that holds `held` of them, if afterwards as many are left as it then holds."""
        with self._lock:
            if held + count > self.total - self.used - count:
                return False
            self.used += count
            self._on_change(self.used)
            return True

    def give_back(self, count: int) -> None:
        with self._lock:
            self.used -= count
            self._on_change(self.used)
