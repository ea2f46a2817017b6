"""A TCP proxy that does to connections what networks do."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Harm = Callable[[int, bytes], bytes | None]
"""Told how many bytes have gone to the client so far, and the next ones: gives what goes on, or None to hang up."""


def nothing(_done: int, data: bytes) -> bytes | None:
    return data


@dataclass
class CutAfter:
    """Hangs up after so many bytes of an answer; `times` says how often."""

    nbytes: int
    times: int = 1

    def __call__(self, done: int, data: bytes) -> bytes | None:
        if done + len(data) < self.nbytes or self.times <= 0:
            return data
        self.times -= 1
        return None


@dataclass
class FlipBit:
    """Flips a bit of one byte of an answer, once."""

    at: int
    done: bool = False

    def __call__(self, done: int, data: bytes) -> bytes | None:
        if self.done or not done <= self.at < done + len(data):
            return data
        self.done = True
        changed = bytearray(data)
        changed[self.at - done] ^= 0x10
        return bytes(changed)


class StallAfter(CutAfter):
    """Sends nothing more after so many bytes, and keeps the connection open for a minute, `times` times."""

    def __call__(self, done: int, data: bytes) -> bytes | None:
        passed = super().__call__(done, data)
        if passed is None:
            threading.Event().wait(60)
        return passed


@dataclass
class Slow:
    """Takes so many seconds for every piece of up to 64 KiB."""

    seconds: float

    def __call__(self, _done: int, data: bytes) -> bytes | None:
        time.sleep(self.seconds)
        return data


class Proxy:
    """Passes connections on to a server; harms may be changed at any time. Use it in a `with`."""

    def __init__(self, port: int, harm: Harm = nothing, *, asked: Harm = nothing, reset: bool = False) -> None:
        """`harm` is for what the server sends, `asked` for what the client sends."""
        self.harm, self.asked, self._target, self._reset = harm, asked, port, reset
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._closed, self._lock = False, threading.Lock()
        self.accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: Any) -> None:
        with self._lock:
            self._closed = True  # a connection that is being accepted is closed by whoever accepts it
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # it also wakes the thread that waits; to close it does not
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            with self._lock:
                if self._closed:
                    client.close()
                    server.close()
                    return
                self._sockets += [client, server]
            threading.Thread(target=self._pass_on, args=(client, server, self.asked), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(server, client, self.harm), daemon=True).start()

    def _receive(self, source: socket.socket) -> bytes:
        """What goes on next; nothing at the end."""
        return source.recv(65536)

    def _pass_on(self, source: socket.socket, target: socket.socket, harm: Harm) -> None:
        done = 0
        with contextlib.suppress(OSError):
            while data := self._receive(source):
                changed = harm(done, data)
                if changed is None:
                    break
                done += len(data)
                target.sendall(changed)
        for each in (source, target):
            with contextlib.suppress(OSError):
                if self._reset and harm is not nothing:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    each.close()
                else:
                    each.shutdown(socket.SHUT_RDWR)


class BufferingProxy(Proxy):
    """Holds everything back until there are so many bytes, or none came for a while."""

    def __init__(self, port: int, nbytes: int, seconds: float) -> None:
        self._nbytes, self._seconds = nbytes, seconds
        super().__init__(port)

    def _receive(self, source: socket.socket) -> bytes:
        held = source.recv(65536)
        while held and len(held) < self._nbytes:
            if not select.select([source], [], [], self._seconds)[0]:
                break
            more = source.recv(65536)
            if not more:
                break
            held += more
        return held
