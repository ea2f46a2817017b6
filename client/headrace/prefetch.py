"""Receiving ahead of the trainer, in a thread that nobody has to wait for."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")

# A thread that is just connecting to a dead host cannot be woken; it ends by itself, and keeps nobody waiting.
_JOIN_SECONDS = 1.0

_running: weakref.WeakSet[Prefetcher[object]] = weakref.WeakSet()


class _End:
    """What comes after the last item."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Prefetcher(Generic[T]):
    """Runs an iterator in a thread, up to `depth` items ahead. Close it, or leave it with `with`.

    `interrupt` is called at closing, to wake the thread where it waits for the network. An error of the iterator is
    raised where its item would have come. The thread is a daemon, and ends at the interpreter's exit at the latest.
    """

    def __init__(self, items: Iterator[T], depth: int, interrupt: Callable[[], None]) -> None:
        self._items, self._interrupt = items, interrupt
        # These queues are C, which Ctrl-C cannot leave locked.
        self._ready: SimpleQueue[T | _End] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        """One for every item that may still be received ahead."""
        for _ in range(depth):
            self._room.put(None)
        self._next: list[T | _End] = []
        """What `wait` has seen come."""
        self._closed = False
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="headrace-prefetch", daemon=True)
        _running.add(self)  # type: ignore[arg-type]
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        item = self._next.pop() if self._next else self._ready.get()
        if isinstance(item, _End):
            self._ready.put(_End())
            if item.error is not None:
                raise item.error
            raise StopIteration
        self._room.put(None)
        return item

    def wait(self, seconds: float) -> bool:
        """Whether the next item, the end, or an error is there within so many seconds."""
        if not self._next:
            try:
                self._next.append(self._ready.get(timeout=seconds))
            except Empty:
                return False
        return True

    def __enter__(self) -> Prefetcher[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread and closes the iterator; what was received and not taken is dropped."""
        if self._process != os.getpid():
            return  # a forked child has a copy without the thread, and the connection is its parent's
        self._closed = True
        self._room.put(None)
        self._interrupt()
        if self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)
        self._drop()

    def _drop(self) -> None:
        self._next.clear()
        with contextlib.suppress(Empty):
            while not isinstance(item := self._ready.get_nowait(), _End):
                pass
            self._ready.put(item)

    def _run(self) -> None:
        end = _End()
        try:
            while True:
                self._room.get()
                if self._closed:
                    break
                try:
                    item = next(self._items)
                except StopIteration:
                    break
                self._ready.put(item)
                del item  # its memory may be used again as soon as nobody holds it
        except BaseException as error:  # noqa: BLE001 - raised again in the trainer's thread
            end = _End(error)
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
            self._ready.put(end)
            _running.discard(self)  # type: ignore[arg-type]


def _close_all() -> None:
    for prefetcher in list(_running):
        prefetcher.close()


# Before the interpreter freezes daemon threads, so that none is left inside a frame or a socket.
atexit.register(_close_all)
