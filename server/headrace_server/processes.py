"""Several server processes under one parent, which starts, replaces and ends them, and serves nothing itself."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from .errors import ConfigurationError, WorkersFailed
from .logs import logger

Work = Callable[[int, Callable[[], None]], None]
"""`work(number, ready)` is a worker's life, which ends on SIGTERM and SIGINT. They wait until it has called `ready`."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGALRM)
_AT_ONCE = 5.0
"""Seconds; a worker that ends sooner could hardly serve."""
_MOST_AT_ONCE = 5
"""So many that end at once, one after the other, and the next would fare no better."""
_SLACK = 10.0
"""Seconds beyond the grace in which a worker that was told to end can close its threads; then it is killed."""
_PR_SET_PDEATHSIG = 1
# Loaded before any fork: between fork and exec the loader's locks may be held.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass
class _Worker:
    """A process that serves, by the number whose share of everything it has."""

    number: int
    began: float = field(default_factory=time.monotonic)


class Supervisor:
    """The parent of `count` workers: start, main loop, end. It has one thread, and learns all it needs by signals."""

    def __init__(
        self, count: int, work: Work, *, on_end: Callable[[], None], on_death: Callable[[int], None], grace: float
    ) -> None:
        """`on_end()` is called when the end begins, `on_death(number)` when a worker has ended that nobody told to."""
        self._count, self._work, self._grace = count, work, grace
        self._on_end, self._on_death = on_end, on_death
        self._workers: dict[int, _Worker] = {}
        self._ending = False
        self._at_once = 0
        self._failure: str | None = None

    def run(self, announce: Callable[[], None]) -> None:
        """Returns after SIGTERM or SIGINT, when every worker has ended. To be run within `awaited_signals`.

        Raises WorkersFailed where workers end as soon as they are started, or do not end when they should.
        """
        announce()
        gc.freeze()  # the collector writes to what it visits, which would copy the memory that all share
        try:
            for number in range(self._count):
                self._start(number)
            while self._workers:
                self._handle(signal.sigwait(_SIGNALS))
        finally:
            self._kill()  # none is left but where this process failed itself
            signal.alarm(0)
        if self._failure is not None:
            raise WorkersFailed(self._failure)

    def _start(self, number: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            raise WorkersFailed(f"cannot start a process: {error.strerror or error}") from error
        if not pid:
            _live(parent, number, self._work)
        self._workers[pid] = _Worker(number)

    def _handle(self, which: int) -> None:
        if which == signal.SIGCHLD:
            self._reap()
        elif which == signal.SIGALRM:
            seconds = self._grace + _SLACK
            self._failure = f"of {self._count} workers, {len(self._workers)} did not end within {seconds:g} s: killed"
            for pid in self._workers:
                os.kill(pid, signal.SIGKILL)
        else:
            self._end(which)

    def _end(self, which: int) -> None:
        """Passes a signal on. The workers end by themselves; a second Ctrl-C ends their grace."""
        if not self._ending:
            self._ending = True
            self._on_end()
            signal.setitimer(signal.ITIMER_REAL, self._grace + _SLACK)
        for pid in self._workers:
            os.kill(pid, which)

    def _reap(self) -> None:
        for pid in list(self._workers):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._bury(pid, self._workers.pop(pid), _outcome(status))

    def _bury(self, pid: int, worker: _Worker, outcome: str) -> None:
        if self._ending:
            if outcome != "exit status 0":
                logger.warning("a worker ended out of order", worker=worker.number, pid=pid, outcome=outcome)
            return
        seconds = time.monotonic() - worker.began
        logger.error(
            "a worker ended unasked", worker=worker.number, pid=pid, outcome=outcome, after_seconds=round(seconds, 1)
        )
        self._on_death(worker.number)
        self._at_once = self._at_once + 1 if seconds < _AT_ONCE else 0
        if self._at_once < _MOST_AT_ONCE:
            self._start(worker.number)
            return
        self._failure = (
            f"{_MOST_AT_ONCE} workers in a row ended within {_AT_ONCE:g} s of their start, the last with {outcome}; "
            "see what they logged, or serve with --processes 1"
        )
        self._end(signal.SIGTERM)

    def _kill(self) -> None:
        for pid in self._workers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self._workers.clear()


@contextlib.contextmanager
def run_directory() -> Iterator[Path]:
    """A directory that the processes of one server share, gone when the `with` is left. Raises ConfigurationError."""
    try:
        path = Path(tempfile.mkdtemp(prefix="headrace-"))
    except OSError as error:
        raise ConfigurationError(
            f"several processes share a temporary directory, and none can be made: {error.strerror or error}; "
            "set TMPDIR to where files can be written, or serve with --processes 1"
        ) from error
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)  # systemd-tmpfiles leaves a locked directory alone, however old it is
        yield path
    finally:
        os.close(handle)
        shutil.rmtree(path, ignore_errors=True)


def orphaned(parent: int) -> bool:
    """Whether the process that started this one is gone."""
    return os.getppid() != parent


@contextlib.contextmanager
def awaited_signals() -> Iterator[None]:
    """The signals wait until `sigwait` takes them, so that none comes at a wrong moment."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    # Where it is ignored, as by default, it might not wait.
    handler = signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        yield
    finally:
        while signal.sigpending() & set(_SIGNALS):  # too late to mean anything
            signal.sigwait(_SIGNALS)
        signal.signal(signal.SIGCHLD, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _live(parent: int, number: int, work: Work) -> NoReturn:
    """A worker's whole life, in the new process. Never returns: what the parent has begun is the parent's to end."""
    status = 1
    try:
        os.setsid()  # Ctrl-C reaches only the parent, which passes it on
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if not orphaned(parent):  # else it was killed before it could be watched
            work(number, _let_signals_in)
        status = 0
    except BaseException:  # noqa: BLE001 - logged; the process ends here either way
        logger.exception("a worker failed", worker=number)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _let_signals_in() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _outcome(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
