"""Bounds of time and memory for what a test does to a server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from harness import ServerProcess

from fuzzing.runner import forget_peak, peak_mib

SOON = 5.0
"""Seconds; what is refused is refused in a few milliseconds, if the machine has nothing else to do."""


@contextlib.contextmanager
def soon() -> Iterator[None]:
    """What is done takes no longer than that."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SOON


@contextlib.contextmanager
def within(mib: float, server: ServerProcess) -> Iterator[None]:
    """The server is not larger by more than so much at any moment."""
    forget_peak(server.process.pid)
    before = peak_mib(server.process.pid)
    yield
    assert peak_mib(server.process.pid) - before < mib
