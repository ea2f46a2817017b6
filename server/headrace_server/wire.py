"""Sending without copying: uvicorn's HTTP protocol, but a frame goes to the socket as it lies in memory.

uvicorn joins every chunk with its framing, which copies the whole batch on the event loop, and returns from `send`
while the transport still holds it; and uvloop's transport holds the interpreter's lock while the kernel copies, so that
the threads that decode stand still. Here a frame's parts are handed to the kernel as they are, without the lock, and
`send` returns when it has taken all of them, so that their memory may be used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from bisect import bisect_right
from itertools import accumulate
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from .logs import logger

_MOST_PARTS = 1024
"""That one call takes; Linux's IOV_MAX."""

_MOST_HEAD = 64 * 1024
"""Bytes of a request before its body."""
_REQUEST_SECONDS = 30.0
"""In which a request must have come whole, from the connection's beginning, or its own."""

Parts = list[bytes | memoryview]


class Stalled(ConnectionAbortedError):
    """The other side took nothing for too long."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"it took nothing for {seconds:g} s (option stall_timeout)")


class Writer:
    """Writes to a connection's socket beside its transport, which must have nothing left to write meanwhile.

    It has a file descriptor of its own, since the event loop watches each for one party only; `close` it with the
    connection.
    """

    def __init__(self, transport: asyncio.BaseTransport, stall_timeout: float) -> None:
        """`stall_timeout` is how many seconds the other side may take nothing."""
        self._stall_timeout = stall_timeout
        self._loop = asyncio.get_running_loop()
        self._descriptor = os.dup(transport.get_extra_info("socket").fileno())
        self._writable: asyncio.Future[None] | None = None

    async def write(self, parts: Parts) -> None:
        """Returns when the kernel has taken everything. Raises OSError where the connection ended, or took nothing."""
        ends = list(accumulate(map(len, parts)))
        first, done, left = 0, 0, parts[0]
        while done < ends[-1]:
            try:
                done += os.writev(self._descriptor, [left, *parts[first + 1 : first + _MOST_PARTS]])
            except BlockingIOError:
                await self._until_writable()
                continue
            if done < ends[-1]:
                first = bisect_right(ends, done, first)
                left = memoryview(parts[first])[done - ends[first] :]

    def close(self) -> None:
        """Whoever waits in `write` gets ConnectionAbortedError."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_exception(ConnectionAbortedError("the connection was closed"))
        self._forget()
        os.close(self._descriptor)
        self._descriptor = -1

    async def _until_writable(self) -> None:
        writable = self._writable = self._loop.create_future()
        self._loop.add_writer(self._descriptor, _settle, writable)
        try:
            await asyncio.wait_for(writable, self._stall_timeout)
        except asyncio.TimeoutError as error:  # not OSError's in Python 3.10
            raise Stalled(self._stall_timeout) from error
        finally:
            self._forget()

    def _forget(self) -> None:
        if self._writable is not None and self._descriptor >= 0:
            self._loop.remove_writer(self._descriptor)
        self._writable = None


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def leave_unpaced(connection: socket.socket) -> None:
    """On one machine, no way lies between the two ends that could be congested, nor has it a rate to be found out.

    BBR, where it is the system's way, paces what is only copied in memory: that costs a tenth of the speed, and half of
    it at times. Reno paces nothing, and every Linux has it.
    """
    with contextlib.suppress(OSError, AttributeError):  # it has gone by now; no TCP; elsewhere than on Linux
        if connection.getsockname()[:1] == connection.getpeername()[:1]:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")


class PayloadCycle(RequestResponseCycle):
    """A request and its response; a body that is a list of parts is sent without being joined to anything."""

    writer: Writer | None
    stall_timeout: float

    async def send(self, message: Any) -> None:
        body = message.get("body")
        if not isinstance(body, list):
            await super().send(message)
            return
        await self.flow.drain()
        if self.disconnected:
            return
        size = sum(map(len, body))
        if self.chunked_encoding:
            body = [b"%x\r\n" % size, *body, b"\r\n"]
        else:
            assert self.expected_content_length is not None
            self.expected_content_length -= size
        try:
            await self._write(body)
        except Stalled as error:
            logger.warning("a client is disconnected", client=str(self.scope.get("client")), reason=str(error))
            self.transport.abort()
        except OSError:  # as uvicorn has it: whoever went away is told nothing
            self.transport.abort()
        except asyncio.CancelledError:  # half a frame is no frame, and nothing may follow it
            self.transport.abort()
            raise

    async def _write(self, parts: Parts) -> None:
        if self.writer is not None:
            await self.writer.write(parts)
            return
        for part in parts:  # encrypted on the way, by the transport
            self.transport.write(part)
            try:
                await asyncio.wait_for(self.flow.drain(), self.stall_timeout)
            except asyncio.TimeoutError as error:
                raise Stalled(self.stall_timeout) from error


class PayloadProtocol(HttpToolsProtocol):
    """uvicorn's protocol with `PayloadCycle`s; in plain text no bytes stay in the transport after a `send`."""

    _writer: Writer | None = None
    _overdue: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, stall_timeout: float, **more: Any) -> None:
        super().__init__(*args, **more)
        self._stall_timeout = stall_timeout
        self._in_head, self._head_bytes = True, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        leave_unpaced(transport.get_extra_info("socket"))
        self._expect_request()
        if transport.get_extra_info("sslcontext") is None:  # one that encrypts waits for ever for less than nothing
            self.transport.set_write_buffer_limits(high=0)
            self._writer = Writer(transport, self._stall_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._expect_nothing()
        if self._writer is not None:
            self._writer.close()

    def data_received(self, data: bytes) -> None:
        """The parser keeps as many headers as come, so they are counted here."""
        super().data_received(data)
        self._head_bytes = self._head_bytes + len(data) if self._in_head else 0
        if self._head_bytes > _MOST_HEAD and not self.transport.is_closing():
            self.send_400_response(f"A request has at most {_MOST_HEAD} bytes of headers.")

    def _expect_request(self) -> None:
        self._expect_nothing()
        seconds = min(_REQUEST_SECONDS, self._stall_timeout)
        self._overdue = self.loop.call_later(seconds, self.transport.abort)

    def _expect_nothing(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._expect_request()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._expect_nothing()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()
        if type(self.cycle) is RequestResponseCycle:
            self.cycle.__class__ = PayloadCycle
            cycle = cast(PayloadCycle, self.cycle)
            cycle.writer, cycle.stall_timeout = self._writer, self._stall_timeout
