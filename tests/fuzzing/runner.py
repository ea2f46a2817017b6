"""The loop of a fuzzing process: an input, what comes of it, and bounds of time and memory that it must stay within."""

from __future__ import annotations

import contextlib
import faulthandler
import mmap
import random
import resource
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SECONDS_EACH = 5.0
"""What one input may take; what takes longer hangs."""
_ROOM_TO_FAIL = 2**30
"""Address space beyond the bound on memory, so that what asks for gigabytes fails and the machine does not."""
_LONGEST = 4 * 2**20


@dataclass(frozen=True)
class Target:
    """Something that reads what others wrote."""

    make: Callable[[random.Random], bytes]
    """An input, a function of the dice alone."""
    run: Callable[[bytes], str]
    """The outcome in a word, a function of the input alone. Raises where a promise is broken, whichever it is."""
    most_mib: int
    """How much memory the process may gain."""
    first: tuple[bytes, ...] = ()
    """Inputs to begin with: the good ones, and those that were bad enough once."""


@dataclass
class Report:
    """What came of a run."""

    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    gained_mib: float = 0.0
    slowest: float = 0.0


class BoundBroken(AssertionError):
    """An input made the process larger than it may become."""


class Recorder:
    """Keeps the input in hand in a file, where it survives the process, however that ends."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(_LONGEST + 8))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)

    def record(self, data: bytes) -> None:
        self._memory[8 : 8 + len(data)] = data
        self._memory[:8] = len(data).to_bytes(8, "little")


def recorded(path: Path) -> bytes:
    """The input in a recorder's file."""
    content = path.read_bytes()
    return content[8 : 8 + int.from_bytes(content[:8], "little")]


class Watch:
    """Ends the process, with every thread's traceback, where an input takes too long."""

    def __init__(self) -> None:
        self._armed = 0.0

    def look(self) -> None:
        """Before each input. It costs a thread to arm anew, so that happens only ten times a second."""
        now = time.monotonic()
        if now - self._armed > 0.1:
            faulthandler.dump_traceback_later(SECONDS_EACH, exit=True)
            self._armed = now

    def stop(self) -> None:
        faulthandler.cancel_dump_traceback_later()


def fuzz(target: Target, seconds: float, seed: int, recorder: Recorder) -> Report:
    """Runs the target on its first inputs, and then on others for so many seconds."""
    faulthandler.enable()
    dice, report, watch = random.Random(seed), Report(), Watch()
    target.run(target.first[0])  # what is imported or cached once is not what an input costs
    forget_peak()
    before = peak_mib()
    limit_address_space(target.most_mib)
    first = list(reversed(target.first))
    ends = time.monotonic() + seconds
    while first or time.monotonic() < ends:
        data = first.pop() if first else target.make(dice)
        recorder.record(data)
        watch.look()
        began = time.monotonic()
        report.outcomes[target.run(data)] += 1
        report.inputs += 1
        report.slowest = max(report.slowest, time.monotonic() - began)
        report.gained_mib = peak_mib() - before
        if report.gained_mib > target.most_mib:
            raise BoundBroken(f"{report.gained_mib:.0f} MiB more than before, at most {target.most_mib} are allowed")
    watch.stop()
    return report


def peak_mib(process: int | str = "self") -> float:
    """The most memory that a process has had; 0 where the system does not tell.

    Linux's `getrusage` would count what the parent had when it started the process, too.
    """
    status = Path(f"/proc/{process}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmHWM"))


def forget_peak(process: int | str = "self") -> None:
    """From now on `peak_mib` tells the most memory since; where the system has that."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{process}/clear_refs").write_text("5")


def limit_address_space(more_mib: int) -> None:
    """Lets the process gain so much and the room to fail, and no more; where the system tells what it has."""
    status = Path("/proc/self/statm")
    if status.exists():
        now = int(status.read_text().split()[0]) * resource.getpagesize()
        most = now + more_mib * 2**20 + _ROOM_TO_FAIL
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
