"""Sending without copying: uvicorn's HTTP protocol, but a batch goes to the socket as it lies in memory.

uvicorn joins every chunk with its framing, which copies the whole batch on the event loop, and returns from `send`
while the transport still holds it. Here a payload is handed over as it is, and `send` returns when the kernel has taken
all of it, so that its memory may be used again.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle


class PayloadCycle(RequestResponseCycle):
    """A request and its response, whose memoryviews are sent without being joined to anything."""

    async def send(self, message: Any) -> None:
        body = message.get("body")
        if not isinstance(body, memoryview):
            await super().send(message)
            return
        if self.flow.write_paused:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.chunked_encoding:
            self.transport.write(b"%x\r\n" % body.nbytes)
            self.transport.write(body)
            self.transport.write(b"\r\n")
        else:
            assert self.expected_content_length is not None
            self.expected_content_length -= body.nbytes
            self.transport.write(body)
        await self.flow.drain()


class PayloadProtocol(HttpToolsProtocol):
    """uvicorn's protocol with `PayloadCycle`s, and no bytes kept in the transport after a `send`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.transport.set_write_buffer_limits(high=0)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if type(self.cycle) is RequestResponseCycle:
            self.cycle.__class__ = PayloadCycle
