"""Processes that never outlive the one that started them."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_PATIENCE = 15.0
"""Seconds that a process may take to end when it is asked to."""
_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def child(words: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that has ended when the `with` ends, however it ends.

    It is in a session of its own: Ctrl-C reaches only the parent, which ends its children in order.
    """
    # Signals wait until the process is in the `try` below.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        process = subprocess.Popen(words, text=True, start_new_session=True, preexec_fn=_preparation(before), **options)
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield process
        finally:
            _end(process)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end this process as an exception does, so that every `with` is left."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(process: subprocess.Popen[str]) -> None:
    """Asks the process to end; kills it if it does not, or if Ctrl-C is pressed once more."""
    process.terminate()  # does nothing to one that has ended
    try:
        process.wait(_PATIENCE)
    except BaseException as error:
        process.kill()
        process.wait()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
    finally:
        if process.stdout is not None:
            process.stdout.close()


def _preparation(mask: set[Any]) -> Callable[[], None]:
    """For `preexec_fn`: gives the child the signal mask that the parent had.

    On Linux it is also told to end where its parent was killed and could not see to it.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    return prepare
