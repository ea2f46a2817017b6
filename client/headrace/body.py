"""Taking the chunks of a response's body apart, while their data go straight into the reader's memory.

`http.client` does not say how much of a chunk is still to come, and so nobody could wait for it.
"""

from __future__ import annotations

import http.client
import selectors
import socket
from typing import Any

from .receiving import Receiver

_AHEAD = 8192
"""Bytes that are received at once where fewer are asked for."""
_LONGEST_LINE, _MOST_TRAILERS = 1024, 100
_HEXADECIMAL = b"0123456789abcdefABCDEF"
_END, _NOTHING = b"\r\n", memoryview(bytearray())


class Body:
    """The body of a response of `http.client`, chunked or of known length. While it is read, the socket is its."""

    def __init__(self, response: http.client.HTTPResponse, sock: socket.socket) -> None:
        self._response, self._socket = response, sock
        self._receiver: Receiver | None = None
        """None before the first read, which takes what `http.client` has received behind the headers."""
        self._ahead = b""
        """What was received and not read yet."""
        self._left = 0
        """Bytes of the chunk that are still to come."""
        self._behind = memoryview(bytearray(2))
        self._ended = True
        """Whether the line that ends a chunk is behind us."""

    def readinto(self, buffer: memoryview) -> int:
        """Receives up to `len(buffer)` bytes into its beginning; 0 at the body's end.

        Raises what sockets and `http.client` raise, IncompleteRead where the body was cut.
        """
        if not self._response.chunked:
            return self._response.readinto(buffer)
        if not self._left and not self._next_chunk():
            return 0
        wanted = buffer[: self._left]
        if len(wanted) < _AHEAD and not self._ahead:
            self._receive_ahead()
        count = self._take(wanted) if self._ahead else self._receive(wanted)
        self._left -= count
        self._pass_end()
        return count

    def ready(self) -> bool:
        """Whether something has come that was not read yet, and is not just the end of a chunk."""
        if self._receiver is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._socket, selectors.EVENT_READ)
                return bool(selector.select(0))
        if len(self._ahead) < len(_END):
            self._ahead += self._receiver.at_once(_AHEAD)
            self._pass_end()
        return len(self._ahead) > (0 if self._ended else 1)

    def _pass_end(self) -> None:
        """Leaves the end of a chunk behind, if all of it was received ahead."""
        if not self._left and not self._ended and self._ahead[:2] == _END:
            self._ahead, self._ended = self._ahead[2:], True

    def _take(self, buffer: memoryview) -> int:
        """Copies what was received ahead."""
        count = min(len(buffer), len(self._ahead))
        buffer[:count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        return count

    def _receive(self, buffer: memoryview) -> int:
        """One read; with the chunk's last bytes comes the end of its line, for which nobody is woken then."""
        assert self._receiver is not None
        last = len(buffer) == self._left
        count = self._receiver.into(buffer, self._behind if last else _NOTHING)
        if not count:
            raise http.client.IncompleteRead(b"", self._left)
        self._ahead = bytes(self._behind[: max(0, count - len(buffer))])
        return min(count, len(buffer))

    def _next_chunk(self) -> bool:
        """Reads the next chunk's length. False, and the response is closed, at the body's end."""
        if self._response.isclosed():
            return False
        if not self._ended and (found := self._line()):
            raise http.client.HTTPException(f"a chunk's end was expected, found {found[:20]!r}")
        self._ended = False
        text = self._line().split(b";", 1)[0].strip()
        if not text or text.strip(_HEXADECIMAL):
            raise http.client.HTTPException(f"a chunk's length was expected, found {text[:20]!r}")
        self._left = int(text, 16)
        if not self._left:
            self._finish()
        return self._left > 0

    def _finish(self) -> None:
        """Goes over the trailers, of which our server sends none."""
        for _ in range(_MOST_TRAILERS):
            if not self._line():
                break
        else:
            raise http.client.HTTPException(f"more than {_MOST_TRAILERS} lines came after the body's end")
        if self._receiver is not None:
            self._receiver.give_back()
        self._response.close()

    def _line(self) -> bytes:
        while (end := self._ahead.find(b"\n")) < 0:
            if len(self._ahead) >= _LONGEST_LINE:
                raise http.client.LineTooLong("between two chunks")
            self._receive_ahead()
        line, self._ahead = self._ahead[:end], self._ahead[end + 1 :]
        return line.rstrip(b"\r")

    def _receive_ahead(self) -> None:
        """Receives a few more bytes, whatever comes first."""
        if self._receiver is None:
            stream: Any = self._response.fp
            more = stream.read1(len(stream.peek()))  # all of its buffer, whose size releases of Python differ in
            self._receiver = Receiver(self._socket)
        else:
            more = self._receiver.some(_AHEAD)
        if not more:
            raise http.client.IncompleteRead(self._ahead)
        self._ahead += more
