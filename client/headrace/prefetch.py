"""Receiving ahead of the trainer, in a thread that nobody has to wait for."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

# A thread that is just connecting to a dead host cannot be woken; it ends by itself, and keeps nobody waiting.
_JOIN_SECONDS = 1.0

_running: weakref.WeakSet[Prefetcher[object]] = weakref.WeakSet()


class Prefetcher(Generic[T]):
    """Runs an iterator in a thread, up to `depth` items ahead. Close it, or leave it with `with`.

    `interrupt` is called at closing, to wake the thread where it waits for the network. An error of the iterator is
    raised where its item would have come. The thread is a daemon, and ends at the interpreter's exit at the latest.
    """

    def __init__(self, items: Iterator[T], depth: int, interrupt: Callable[[], None]) -> None:
        self._items, self._depth, self._interrupt = items, depth, interrupt
        self._ready: deque[T] = deque()
        self._error: BaseException | None = None
        self._ended = self._closed = False
        self._changed = threading.Condition()
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="headrace-prefetch", daemon=True)
        _running.add(self)  # type: ignore[arg-type]
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._changed:
            while not self._ready and not self._ended:
                self._changed.wait()
            if self._ready:
                self._changed.notify_all()
                return self._ready.popleft()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            raise StopIteration

    def wait(self, seconds: float) -> bool:
        """Whether the next item, the end, or an error is there within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._ready) or self._ended, seconds)

    def __enter__(self) -> Prefetcher[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread and closes the iterator; what was received and not taken is dropped."""
        if self._process != os.getpid():
            return  # a forked child has a copy without the thread, and the connection is its parent's
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()
        self._interrupt()
        if self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        try:
            for item in self._items:
                with self._changed:
                    self._ready.append(item)
                    self._changed.notify_all()
                    while len(self._ready) >= self._depth and not self._closed:
                        self._changed.wait()
                    if self._closed:
                        break
        except BaseException as error:  # noqa: BLE001 - raised again in the trainer's thread
            self._error = error
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()
            _running.discard(self)  # type: ignore[arg-type]


def _close_all() -> None:
    for prefetcher in list(_running):
        prefetcher.close()


# Before the interpreter freezes daemon threads, so that none is left inside a frame or a socket.
atexit.register(_close_all)
