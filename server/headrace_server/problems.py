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
SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "A refusal, after RFC 9457; there may be more members",
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what was found, what was expected, what to do: one line"},
        "code": {"type": "string", "description": "what kind of refusal, for programs"},
        "key": {"type": ["string", "null"], "description": "of the sample that failed"},
        "samples": {"type": "integer", "description": "positions in an epoch, where one beyond them was asked for"},
        "most_samples": {"type": "integer", "description": "of this plan in a batch that the server allows"},
    },
    "required": ["type", "title", "status", "detail"],
}
_REFERENCE = {"$ref": "#/components/schemas/Problem"}
_MEANINGS = {
    401: "A token is needed, or this one is wrong",
    403: "This token is not for the dataset",
    404: "There is no such dataset, split or plan; where `code` is `unknown-plan`, post the plan again",
    413: "The plan is too large",
    416: "A position is beyond the epoch, which has `samples`",
    421: "The server listens on loopback only, and `Host` is another name",
    422: "What was asked for makes no sense, or is more than the server allows",
    429: "Too many wrong tokens came from this address",
    500: "A sample of the batch cannot be made, here or elsewhere",
    503: "Starting, shutting down, full, or a sample cannot be read now: ask again, or another server",
}
_SECONDS = {"Retry-After": "1"}
_HEADERS = {503: _SECONDS, 429: _SECONDS, 401: {"WWW-Authenticate": 'Bearer realm="headrace"'}}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of these statuses; `SCHEMA` is to stand among its components."""
    return {status: _refusal(status) for status in statuses}


def _refusal(status: int) -> dict[str, Any]:
    headers = {name: {"required": True, "schema": {"type": "string"}} for name in _HEADERS.get(status, ())}
    content = {MEDIA_TYPE: {"schema": _REFERENCE}}
    return {"description": _MEANINGS[status], "content": content, **({"headers": headers} if headers else {})}


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
