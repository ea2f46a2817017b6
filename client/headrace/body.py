"""Receiving a response's body in few, large pieces.

A socket wakes its reader for every packet or two. The rest of a batch is therefore received in one call (MSG_WAITALL),
during which the kernel wakes nobody before a good part of it is there (SO_RCVLOWAT): this saves the trainer most of the
wake-ups, and Python's lock most of its changes of hands. `http.client` cannot know how much is still to come, so chunks
are taken apart here.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import struct
import sys
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
        self._patient = sys.platform == "linux" and not isinstance(sock, ssl.SSLSocket)
        if self._patient:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(sock.gettimeout()))
        self._wanted = 1
        self._left = 0
        """Bytes of the chunk that are still to come."""
        self._first_chunk = True
        self._drained = False
        """Whether the stream, which reads ahead for the sake of lines, is known to hold nothing."""

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
        """One read."""
        if self._patient and self._drained and len(buffer) >= _WORTH_WAITING:
            most = len(buffer) - _PATIENCE
            return self._receive_whole(buffer[:most]) if most >= _PATIENCE else self._receive_rest(buffer)
        self._wait_for(1)
        stream: Any = self._response.fp
        count = int(stream.readinto1(buffer))
        self._drained = count < len(buffer)
        return count

    def _receive_whole(self, buffer: memoryview) -> int:
        """All of it; less if that took as long as the time-out, or the connection ended.

        More of the chunk must come after it: the kernel wakes nobody for a last piece that is smaller than the others.
        Python would wait for a socket that has a time-out by itself, and for the first piece only.
        """
        self._wait_for(_PATIENCE)
        seconds = self._socket.gettimeout()
        self._socket.settimeout(None)  # the kernel has been told
        try:
            return self._socket.recv_into(buffer, 0, socket.MSG_WAITALL)
        except BlockingIOError as error:
            raise TimeoutError("timed out") from error
        finally:
            self._socket.settimeout(seconds)

    def _receive_rest(self, buffer: memoryview) -> int:
        """A good part of it, once that is there; or whatever is, after a time-out."""
        self._wait_for(min(len(buffer), _PATIENCE))
        with contextlib.suppress(TimeoutError):
            return self._socket.recv_into(buffer)
        self._wait_for(1)
        seconds = self._socket.gettimeout()
        self._socket.settimeout(0.001)
        try:
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
        self._first_chunk = self._drained = False
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


def _timeval(seconds: float | None) -> bytes:
    """C's `struct timeval`; all zeros is for ever."""
    whole, part = divmod(seconds or 0.0, 1.0)
    return struct.pack("@ll", int(whole), int(part * 1e6))
