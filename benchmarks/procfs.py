"""What Linux says of a process: CPU time and memory."""

from __future__ import annotations

import os
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and of its living children, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK + children_cpu_seconds(pid)


def children_cpu_seconds(pid: int) -> float:
    """Of the living children of a process, and theirs."""
    total = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += sum(cpu_seconds(int(child)) for child in (task / "children").read_text().split())
        except OSError:  # it has just ended
            continue
    return total


def resident_bytes(pid: int, *, files: bool = False) -> int:
    """The memory of a process that is in RAM; with `files` also the parts of files that are mapped."""
    wanted = "VmRSS:" if files else "RssAnon:"
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(wanted):
            return int(line.split()[1]) * 1024
    raise OSError(f"process {pid} has no memory: it has ended")
