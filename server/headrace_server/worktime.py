"""How long a thread has worked, leaving out what the garbage collector did in it."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any


class _Collecting(threading.local):
    """Seconds of one thread."""

    began = 0.0
    total = 0.0


_collecting = _Collecting()


def work_seconds() -> float:
    """Seconds of processor time that this thread has worked.

    The collector visits everybody's objects in whichever thread happens to start it: with hundreds of streams a
    twentieth of a second, which may be what one client gets of the threads in ten seconds.
    """
    return time.thread_time() - _collecting.total


def _note(phase: str, _: dict[str, Any]) -> None:
    if phase == "start":
        _collecting.began = time.thread_time()
    else:
        _collecting.total += time.thread_time() - _collecting.began


gc.callbacks.append(_note)
