"""Receiving a response's body in few, large pieces.

A socket wakes its reader for every packet or two. While the rest of a batch is still to come, the kernel is told to
wait for a good part of it (SO_RCVLOWAT), which saves the trainer most of the wake-ups. `http.client` cannot know how
much is still to come, so chunks are taken apart here.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import Any

_PATIENCE = 512 * 1024
"""Bytes that are worth waiting for."""
_WORTH_WAITING = 128 * 1024
"""A rest that is smaller than this is taken as it comes."""
_LONGEST_LINE = 1024


class Body:
    """The body of a response of `http.client`, chunked or of known length."""

    def __init__(self, response: http.client.HTTPResponse, sock: socket.socket) -> None:
        self._response, self._socket = response, sock
        self._patient = hasattr(socket, "SO_RCVLOWAT") and not isinstance(sock, ssl.SSLSocket)
        self._wanted = 1
        self._left = 0
        """Bytes of the chunk that are still to come."""
        self._first_chunk = self._first_read = True

    def readinto(self, buffer: memoryview) -> int:
        """Receives up to `len(buffer)` bytes into its beginning; 0 at the body's end.

        Raises what sockets and `http.client` raise, IncompleteRead where the body was cut.
        """
        if not self._response.chunked:
            return self._response.readinto(buffer)
        if not self._left and not self._next_chunk():
            return 0
        count = self._receive(buffer[: self._left])
        if not count:
            raise http.client.IncompleteRead(b"", self._left)
        self._left -= count
        return count

    def _receive(self, buffer: memoryview) -> int:
        """One read. Only the first of a chunk may find bytes that came with the chunk's length."""
        rest = len(buffer)
        self._wait_for(min(rest, _PATIENCE) if rest >= _WORTH_WAITING and not self._first_read else 1)
        self._first_read = False
        stream: Any = self._response.fp
        try:
            return int(stream.readinto1(buffer))
        except TimeoutError:
            if self._wanted == 1:
                raise
            return self._what_is_there(stream, buffer)

    def _what_is_there(self, stream: Any, buffer: memoryview) -> int:
        """After a time-out: a slow network may have brought less than was waited for, and something all the same."""
        self._wait_for(1)
        seconds = self._socket.gettimeout()
        self._socket.settimeout(0.001)
        try:
            # The stream refuses to be read after a time-out; the socket itself does not, and the stream holds nothing.
            return self._socket.recv_into(buffer)
        finally:
            self._socket.settimeout(seconds)

    def _next_chunk(self) -> bool:
        """Reads the next chunk's length. False, and the response is closed, at the body's end."""
        if self._response.isclosed():
            return False
        self._wait_for(1)
        if not self._first_chunk:
            self._line()  # the end of the chunk before
        self._first_chunk, self._first_read = False, True
        text = self._line().split(b";", 1)[0].strip()
        try:
            self._left = int(text, 16)
        except ValueError as error:
            raise http.client.HTTPException(f"a chunk's length was expected, found {text[:20]!r}") from error
        if not self._left:
            while self._line():
                pass  # trailers, of which there are none
            self._response.close()
        return self._left > 0

    def _line(self) -> bytes:
        stream: Any = self._response.fp
        line: bytes = stream.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise http.client.IncompleteRead(line)
        return line.rstrip(b"\r\n")

    def _wait_for(self, nbytes: int) -> None:
        """Has the kernel wake a reader when so many bytes are there, or the connection has ended."""
        if self._patient and nbytes != self._wanted:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, nbytes)
            self._wanted = nbytes
