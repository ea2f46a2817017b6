"""A transport for httpx that receives into memory of the reader's choosing.

httpx reads 64 KiB at a time, and every chunk is copied again into the batch. Here the response carries the extensions
"readinto", which fills a buffer straight from the socket, "ready", which says whether there is something to read, and
"abort", which wakes a thread that waits. Direct HTTP/1.1 only: where a proxy is in the way, httpx's own transport
serves (and `read_into` of `frames` copies).
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx

from .body import Body

_CHUNK = 64 * 1024
_MOST_IDLE = 4
_ERRORS = (OSError, ValueError, http.client.HTTPException)
"""Of `http.client` and sockets. It reads from a closed file where it was aborted, which is a ValueError."""


class DirectTransport(httpx.BaseTransport):
    """Connections of `http.client`, kept alive, with httpx's timeouts and errors. Safe to use from many threads."""

    def __init__(self, ssl_context: ssl.SSLContext | None = None, address: str | None = None) -> None:
        """`address` is connected to in place of the address that the URL's host has."""
        self._ssl_context, self._address = ssl_context, address
        self._idle: dict[tuple[str, str, int], list[http.client.HTTPConnection]] = {}
        self._lock = threading.Lock()
        self._closed = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Sends the request; a kept connection that the server has closed meanwhile is replaced by a new one."""
        timeouts = request.extensions.get("timeout", {})
        body = request.read()
        origin = (request.url.scheme, request.url.host, request.url.port or _default_port(request.url.scheme))
        try:
            connection = self._take_idle(origin)
            if connection is not None:
                # Where it was closed while it was idle, another takes its place.
                with contextlib.suppress(ConnectionError, http.client.BadStatusLine):
                    return self._exchange(connection, origin, request, body, timeouts)
            return self._exchange(self._connect(origin, timeouts, request), origin, request, body, timeouts)
        except _ERRORS as error:
            raise as_httpx(error, request) from error

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for connections in self._idle.values():
                for connection in connections:
                    connection.close()
            self._idle.clear()

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        origin: tuple[str, str, int],
        request: httpx.Request,
        body: bytes,
        timeouts: dict[str, float | None],
    ) -> httpx.Response:
        sock = connection.sock  # getresponse() forgets it where the connection is not to be kept
        assert sock is not None
        response: http.client.HTTPResponse | None = None
        try:
            sock.settimeout(timeouts.get("read"))
            headers = {name: value for name, value in request.headers.items() if name.lower() != "transfer-encoding"}
            connection.request(request.method, request.url.raw_path.decode("ascii"), body or None, headers)
            response = connection.getresponse()
            stream = _Stream(self, origin, connection, response, sock)
            return httpx.Response(
                response.status,
                headers=response.getheaders(),
                stream=stream,
                extensions={
                    "http_version": b"HTTP/1.1",
                    "readinto": stream.readinto,
                    "ready": stream.ready,
                    "abort": stream.abort,
                },
            )
        except BaseException:
            if response is not None:
                response.close()
            connection.close()
            raise

    def _connect(
        self, origin: tuple[str, str, int], timeouts: dict[str, float | None], request: httpx.Request
    ) -> http.client.HTTPConnection:
        scheme, host, port = origin
        if scheme == "https":
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=timeouts.get("connect"), context=self._ssl_context
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=timeouts.get("connect"))
        if self._address is not None:
            connection._create_connection = partial(_connect_to, self._address)  # type: ignore[attr-defined]
        try:
            connection.connect()
        except TimeoutError as error:
            raise httpx.ConnectTimeout(str(error) or "timed out", request=request) from error
        except OSError as error:
            raise httpx.ConnectError(str(error), request=request) from error
        assert connection.sock is not None
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _take_idle(self, origin: tuple[str, str, int]) -> http.client.HTTPConnection | None:
        with self._lock:
            idle = self._idle.get(origin)
            return idle.pop() if idle else None

    def give_back(self, origin: tuple[str, str, int], connection: http.client.HTTPConnection) -> None:
        """Keeps a connection whose response was read to its end."""
        with self._lock:
            idle = self._idle.setdefault(origin, [])
            if len(idle) < _MOST_IDLE and not self._closed:
                idle.append(connection)
                return
        connection.close()


class _Stream(httpx.SyncByteStream):
    """A response's body."""

    def __init__(
        self,
        transport: DirectTransport,
        origin: tuple[str, str, int],
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        sock: socket.socket,
    ) -> None:
        self._transport, self._origin = transport, origin
        self._connection, self._response = connection, response
        self._socket = sock
        self._body = Body(response, sock)

    def __iter__(self) -> Iterator[bytes]:
        try:
            while chunk := self._response.read(_CHUNK):
                yield chunk
        except _ERRORS as error:
            raise as_httpx(error) from error

    def readinto(self, buffer: memoryview) -> int:
        """Receives up to `len(buffer)` bytes; 0 at the end. Raises httpx's errors."""
        try:
            return self._body.readinto(buffer)
        except _ERRORS as error:
            raise as_httpx(error) from error

    def ready(self) -> bool:
        """Whether something has come that was not read yet."""
        return self._body.ready()

    def abort(self) -> None:
        """Ends the connection at once, also under a thread that waits for it."""
        with contextlib.suppress(OSError):  # it may have ended by itself
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        kept = self._response.isclosed() and self._connection.sock is not None
        self._response.close()
        if kept:
            self._transport.give_back(self._origin, self._connection)
        else:
            self._connection.close()


def as_httpx(error: Exception, request: httpx.Request | None = None) -> httpx.TransportError:
    """An error of `http.client` or of a socket as httpx's."""
    if isinstance(error, TimeoutError):
        return httpx.ReadTimeout(str(error) or "timed out", request=request)
    if isinstance(error, http.client.IncompleteRead):
        return httpx.RemoteProtocolError("the answer ended in the middle", request=request)
    if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):
        return httpx.RemoteProtocolError(f"{type(error).__name__}: {error}", request=request)
    return httpx.ReadError(str(error), request=request)


def _connect_to(address: str, place: tuple[str, int], *options: Any) -> socket.socket:
    """As `socket.create_connection`, but to this address of the host."""
    return socket.create_connection((address, place[1]), *options)


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80
