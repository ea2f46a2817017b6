"""A stream of frames as an ASGI response that notices when its client goes away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine, Mapping
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .frames import Frame

T = TypeVar("T")

MEDIA_TYPE = "application/vnd.headrace.frames"
FRAMES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Frames, as docs/protocol.md describes them",
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""What OpenAPI says of an answer in frames."""
_KEPT = {name: {"required": True, "schema": {"type": "string"}} for name in ("ETag", "Cache-Control")}
KEPT_FRAMES: dict[int | str, dict[str, Any]] = {
    200: {**FRAMES[200], "headers": _KEPT},
    304: {"description": "The cache's own copy is still good", "headers": _KEPT},
}
"""The same of one that caches may keep."""


class FrameStream(Response):
    """Sends frames one by one; each is held until the connection took it."""

    media_type = MEDIA_TYPE

    def __init__(self, frames: AsyncGenerator[Frame, None], headers: Mapping[str, str]) -> None:
        super().__init__(None, 200, headers)
        if "Content-Length" not in headers:  # how long a stream will be is not known before its end
            del self.headers["content-length"]
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await while_connected(self._send(send), receive)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with contextlib.aclosing(self._frames):
            async for frame in self._frames:
                await send({"type": "http.response.body", "body": frame.parts(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def while_connected(work: Coroutine[Any, Any, T], receive: Receive) -> T | None:
    """The result of `work`; or None as soon as the client goes away, and `work` is cancelled."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
