"""Ctrl-C while the main thread waits inside C++, where Python's own handler cannot run.

Python notes a signal at once, and raises KeyboardInterrupt when the main thread next runs Python. It does not while it
waits in TensorFlow for a batch; so whoever makes that batch, in another thread, must notice and give up.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading

_pipe: tuple[int, int] | None = None
_count = 0
_lock = threading.Lock()


def watch() -> None:
    """Begins to count. Does nothing outside the main thread, or where an event loop reads the signals already."""
    global _pipe
    if _pipe is not None or threading.current_thread() is not threading.main_thread():
        return
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)
    taken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    if taken != -1:
        signal.set_wakeup_fd(taken)
        os.close(reader)
        os.close(writer)
        return
    _pipe = reader, writer
    os.register_at_fork(after_in_child=_forget)


def count() -> int:
    """How often Ctrl-C came since `watch`, where it raises KeyboardInterrupt: a handler of the user's may go on."""
    global _count
    with _lock, contextlib.suppress(BlockingIOError):
        while _pipe is not None and (signals := os.read(_pipe[0], 4096)):
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                _count += signals.count(signal.SIGINT)
    return _count


def _forget() -> None:
    """A forked child's signals are not its parent's."""
    global _pipe
    if _pipe is not None:
        _pipe = None
        signal.set_wakeup_fd(-1)
