"""Ctrl-C while the main thread is inside C++, where Python's own handler cannot run, or what it raises would be lost.

Python notes a signal at once, and raises KeyboardInterrupt when the main thread next runs Python. It does not while it
waits in TensorFlow for a batch; so whoever makes that batch, in another thread, must notice and give up. Where
TensorFlow calls Python in the main thread itself, it would make an error of its own of a KeyboardInterrupt.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

Caller = Callable[[FrameType | None], FrameType | None]
"""Finds who has called the C++ that has called a frame, where it would swallow what is raised there; else None."""

_pipe: tuple[int, int] | None = None
_count = 0
_lock = threading.Lock()
_caller: Caller | None = None


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
            if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _interrupt):
                _count += signals.count(signal.SIGINT)
    return _count


def unheard(since: int) -> bool:
    """Whether Ctrl-C came since `count` said so, while the main thread is elsewhere, and cannot hear it."""
    return threading.current_thread() is not threading.main_thread() and count() > since


def redirect(caller: Caller) -> None:
    """From now on, Ctrl-C is raised in the frame that `caller` finds. Does nothing where the user has a handler."""
    global _caller
    if threading.current_thread() is threading.main_thread():
        _caller = caller
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _interrupt)


def pending() -> bool:
    """Whether something is to be raised in a frame of this thread, which should come to its end."""
    return isinstance(sys.gettrace(), _Raiser)


def raise_in(frame: FrameType, error: BaseException) -> None:
    """Raises `error` in a frame further up in this thread, as soon as what it has called is over; the last one counts.

    By the means of a debugger that is told to stop there.
    """
    trace = sys.gettrace()
    if isinstance(trace, _Raiser):
        trace.error = error
    else:
        frame.f_trace = _Raiser(frame, error)
        frame.f_trace_opcodes = True
        sys.settrace(frame.f_trace)


class _Raiser:
    """Traces until a frame goes on, and raises an error in it."""

    def __init__(self, frame: FrameType, error: BaseException) -> None:
        self._frame, self.error = frame, error
        self._before = sys.gettrace(), frame.f_trace, frame.f_trace_opcodes

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if frame is self._frame:
            frame.f_trace = _Restorer(frame, *self._before)  # type: ignore[assignment]  # it is never called
            try:
                raise self.error
            finally:
                del self.error  # or it would refer to itself, by its traceback and this frame


class _Restorer:
    """Lets who traced before, a debugger say, trace again; Python drops it, and ends tracing, once a tracer raised."""

    def __init__(self, frame: FrameType, trace: Any, local: Any, opcodes: bool) -> None:
        self._frame, self._trace, self._local, self._opcodes = frame, trace, local, opcodes

    def __del__(self) -> None:
        self._frame.f_trace, self._frame.f_trace_opcodes = self._local, self._opcodes
        sys.settrace(self._trace)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Python's own handler, but that KeyboardInterrupt is raised where it is not swallowed."""
    caller = _caller and _caller(frame)
    if caller is None:
        raise KeyboardInterrupt
    raise_in(caller, KeyboardInterrupt())


def _forget() -> None:
    """A forked child's signals are not its parent's."""
    global _pipe
    if _pipe is not None:
        _pipe = None
        signal.set_wakeup_fd(-1)
