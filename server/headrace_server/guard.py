"""What stands before every request: whose it is, and whether it was meant for this server."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .access import Access, Grant
from .problems import Problem

FREE = ("/healthz", "/readyz")
"""Probes of orchestrators have no tokens."""
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


def grant_of(request: Request) -> Grant:
    """What the request's token allows."""
    grant: Grant = request.scope["headrace.grant"]
    return grant


def statuses(path: str, *, tokens: bool, loopback: bool) -> list[int]:
    """What the guard may answer in a route's place."""
    return [*([401, 429] if tokens and path not in FREE else []), *([421] if loopback else [])]


class Guard:
    """Middleware of ASGI; plain, since others queue the bodies that pass."""

    def __init__(self, app: ASGIApp, access: Access, *, loopback: bool, certified: bool) -> None:
        """`certified` is whether connections need a certificate."""
        self._app, self._access, self._loopback = app, access, loopback
        self._private = certified or not access.open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._admit(scope)
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        await self._app(scope, receive, _private(send) if self._private else send)

    def _admit(self, scope: Scope) -> None:
        """Raises Problem for a request that is not answered."""
        headers = Headers(scope=scope)
        if self._loopback:
            _check_host(headers.get("host", "localhost"))
        if scope["path"] not in FREE:
            address = scope["client"][0] if scope.get("client") else ""
            scope["headrace.grant"] = self._access.grant(headers.get("authorization", ""), address)


def _check_host(host: str) -> None:
    """A page in a browser may reach loopback by a name of its own (DNS rebinding), but not without naming it here."""
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    if name.lower() not in _LOCAL_NAMES and not name.startswith("127."):
        detail = f"this server listens on loopback only, and is called localhost, not {host[:80]!r}"
        raise Problem(421, "another host", detail)


def _private(send: Send) -> Send:
    """Shared caches must not answer others with what a token was needed for."""

    async def sent(message: Any) -> None:
        if message["type"] == "http.response.start":
            _mark_private(message)
        await send(message)

    return sent


def _mark_private(message: Message) -> None:
    headers = MutableHeaders(raw=message["headers"] if isinstance(message["headers"], list) else [*message["headers"]])
    said = headers.get("cache-control", "")
    headers["cache-control"] = ", ".join(filter(None, ["private", said]))
    message["headers"] = headers.raw
