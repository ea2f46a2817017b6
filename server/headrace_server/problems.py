"""Refusals as HTTP knows them: `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from .errors import ServerError
from .logs import logger

MEDIA_TYPE = "application/problem+json"
_SCHEMA = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail"],
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "Refused; `detail` says why", "content": {MEDIA_TYPE: {"schema": _SCHEMA}}},
    "5XX": {"description": "Failed, or not now; `detail` says why", "content": {MEDIA_TYPE: {"schema": _SCHEMA}}},
}
"""What OpenAPI says of every refusal."""


_HEADERS = {503: {"Retry-After": "1"}, 401: {"WWW-Authenticate": 'Bearer realm="headrace"'}}


class Problem(ServerError):
    """A request that is refused: `detail` says what was found, what was expected, and what to do."""

    def __init__(self, status: int, title: str, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.more = status, title, detail, more

    def response(self, headers: dict[str, str] | None = None) -> JSONResponse:
        headers = {**_HEADERS.get(self.status, {}), **(headers or {})}
        if "retry_after" in self.more:
            headers["Retry-After"] = str(self.more["retry_after"])
        body = {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail, **self.more}
        return JSONResponse(body, status_code=self.status, media_type=MEDIA_TYPE, headers=headers)


def install(app: FastAPI) -> None:
    """Answers every error of `app` with a problem document."""

    @app.exception_handler(Problem)
    async def _(_: Request, problem: Problem) -> JSONResponse:
        return problem.response()

    @app.exception_handler(RequestValidationError)
    async def _(_: Request, error: RequestValidationError) -> JSONResponse:
        return Problem(422, "invalid request", _sentences(error.errors())).response()

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> JSONResponse:
        detail = f"{request.method} {request.url.path}: {error.detail}; GET /docs lists what there is"
        return Problem(error.status_code, str(error.detail), detail).response(dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def _(request: Request, error: Exception) -> JSONResponse:
        logger.error("request failed", path=request.url.path, exc_info=error)
        return Problem(500, "internal error", "the server failed; its log says how").response()


def _sentences(errors: Sequence[Any]) -> str:
    return "; ".join(_sentence(error) for error in errors)


def _sentence(error: Any) -> str:
    name = error["loc"][-1]
    if error["type"] == "missing":
        return f"{name} is missing"
    return f"{name}: {error['msg']}, found {str(error.get('input'))[:80]!r}"
