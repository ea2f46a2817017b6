"""How often a process's interpreter lock is held, seen from outside, without slowing it.

CPython keeps the thread state that has the lock, or nothing, in one word of its memory, which any process of the same
user may read. A profiler that reads whole stacks sees less than there is: it gives up a look at a stack that changes
meanwhile, which is one that runs.
"""

from __future__ import annotations

import ctypes
import os
import random
import struct
import time
from functools import cache
from pathlib import Path

from benchmarks.processes import Failed

_STATE_BYTES = 2048
_WORD = struct.Struct("P")
_PAUSE = 0.0005
"""Seconds between two looks, in the mean."""


def held_share(pid: int, seconds: float) -> float:
    """The share of looks that found it held. Raises Failed, and OSError where the process may not be looked into."""
    address = _address_in(pid)
    looks = held = 0
    end = time.perf_counter() + seconds
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        while time.perf_counter() < end:
            held += any(os.pread(memory, _WORD.size, address))
            looks += 1
            time.sleep(2 * _PAUSE * random.random())  # not in step with anything
    finally:
        os.close(memory)
    return held / looks


def _address_in(pid: int) -> int:
    """Where the word is in a process that runs the same Python as this one."""
    file, offset = _place()
    base = _base(pid, file)
    if base is None:
        raise Failed(f"process {pid} does not run {file}")
    return base + offset


@cache
def _place() -> tuple[str, int]:
    """The file that CPython's state is mapped from, and where in it the word is that changes with the lock."""
    try:
        state = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))
    except ValueError as error:
        raise Failed("this Python does not show its state") from error
    copy = ctypes.create_string_buffer(_STATE_BYTES)
    get_thread_state = ctypes.pythonapi.PyThreadState_Get
    get_thread_state.restype = ctypes.c_void_p
    copy_memory = ctypes.CDLL(None).memcpy  # called without the lock, unlike what is in pythonapi
    copy_memory.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    held = ctypes.string_at(state, _STATE_BYTES)
    copy_memory(copy, state, _STATE_BYTES)
    own = [i * _WORD.size for i, (word,) in enumerate(_WORD.iter_unpack(held)) if word == get_thread_state()]
    found = [at for at in own if not any(copy[at : at + _WORD.size])]
    if len(found) != 1:
        raise Failed("this Python's lock is not found in its state: CPython 3.10 and 3.11 have it there")
    for edges, *_, file in _mappings("self"):
        first, last = (int(edge, 16) for edge in edges.split("-"))
        base = _base("self", file) if first <= state < last else None
        if base is not None:
            return file, state + found[0] - base
    raise Failed("this Python's state is in no mapped file")


def _base(pid: int | str, file: str) -> int | None:
    """Where the file's first byte is mapped."""
    return next((int(line[0].split("-")[0], 16) for line in _mappings(pid) if line[-1] == file), None)


def _mappings(pid: int | str) -> list[list[str]]:
    return [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
