"""What answers while the index is being built: alive, and not ready."""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence

from .app import identity
from .problems import MEDIA_TYPE

_MOMENT = 0.1
_PATIENCE = 1.0
"""Seconds for a request to come in."""
_MOST_BYTES = 16 * 1024
_PROBLEM = {
    "type": "about:blank",
    "title": "starting",
    "status": 503,
    "detail": "this server is still building its index; come again",
}


@contextlib.contextmanager
def lobby(listeners: Sequence[socket.socket], tls: ssl.SSLContext | None) -> Iterator[None]:
    """Answers every request to these sockets by 503, and `/healthz` by 200, from a thread of its own."""
    closing = threading.Event()
    thread = threading.Thread(target=_serve, args=(listeners, tls, closing), name="headrace-lobby", daemon=True)
    thread.start()
    try:
        yield
    finally:
        closing.set()
        thread.join()
        for listener in listeners:
            listener.setblocking(True)


def _serve(listeners: Sequence[socket.socket], tls: ssl.SSLContext | None, closing: threading.Event) -> None:
    with selectors.DefaultSelector() as selector:
        for listener in dict.fromkeys(listeners):
            listener.setblocking(False)
            selector.register(listener, selectors.EVENT_READ)
        while not closing.is_set():
            for key, _ in selector.select(_MOMENT):
                with contextlib.suppress(OSError):  # whoever asked has gone
                    _greet(key.fileobj, tls)  # type: ignore[arg-type]


def _greet(listener: socket.socket, tls: ssl.SSLContext | None) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(_PATIENCE)
        if tls is None:
            _answer(connection)
        else:
            with tls.wrap_socket(connection, server_side=True) as secured:
                _answer(secured)


def _answer(connection: socket.socket) -> None:
    request = b""
    while b"\r\n\r\n" not in request and len(request) < _MOST_BYTES:
        piece = connection.recv(_MOST_BYTES)
        if not piece:
            return
        request += piece
    alive = request.split(b" ", 2)[1:2] == [b"/healthz"]
    connection.sendall(_response("200 OK", "application/json", identity()) if alive else _NOT_READY)
    connection.shutdown(socket.SHUT_WR)
    with contextlib.suppress(OSError):  # a body that nobody reads would reset the connection, and lose the answer
        while connection.recv(_MOST_BYTES):
            pass


def _response(status: str, media_type: str, content: dict[str, object]) -> bytes:
    body = json.dumps(content).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\nRetry-After: 1\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


_NOT_READY = _response("503 Service Unavailable", MEDIA_TYPE, {**_PROBLEM})
