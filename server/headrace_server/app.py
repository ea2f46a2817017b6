"""The HTTP interface: requests in, answers of the service out."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool

from headrace_proto import frame
from headrace_proto.checks import found
from headrace_proto.plan import PlanInfo
from headrace_proto.version import __version__

from . import openapi, pages, problems
from .access import Access
from .address import Address
from .decode import engine
from .frames import Frame
from .guard import Guard, grant_of
from .metrics import CONTENT_TYPE
from .openapi import answer
from .plans import ResolvedPlan
from .problems import Problem
from .responses import FRAMES, KEPT_FRAMES, FrameStream, while_connected
from .service import Service
from .settings import is_loopback
from .streams import StreamRequest

MAX_PLAN_BYTES = 2**20
_IMMUTABLE = "max-age=31536000, immutable"
_DESCRIPTION = """\
Image batches, read, decoded and assembled beside the storage. `docs/protocol.md` describes the frames. What is no HTTP,
or has too long a head, is answered by 400 in plain text, before anything here is looked at.
"""


def create_app(service: Service, access: Access | None = None) -> FastAPI:
    """The application that serves `service` to whom `access` lets in; to everybody, if it is None."""
    app = FastAPI(
        title="headrace",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    settings = service.settings
    access, loopback = access or Access([]), is_loopback(settings.host)
    app.add_middleware(Guard, access=access, loopback=loopback, certified=settings.tls_client_ca is not None)
    problems.install(app)
    pages.install(app)
    _add_operations(app, service)
    _add_plans(app, service)
    _add_batches(app, service)
    openapi.complete(app, tokens=not access.open, loopback=loopback)
    return app


def identity() -> dict[str, Any]:
    """What tells a client that it has found a headrace server, and of which version."""
    return {"service": "headrace", "protocol": frame.PROTOCOL, "version": __version__, "engine": engine()}


def _add_operations(app: FastAPI, service: Service) -> None:
    described: dict[str, Any] = {"tags": ["operations"], "response_model": None}

    @app.get("/healthz", summary="Whether the server is alive", responses=answer(openapi.Identity), **described)
    async def healthz() -> dict[str, Any]:
        return identity()

    @app.get(
        "/readyz", summary="Whether the server takes new streams", responses=answer(openapi.Identity, 503), **described
    )
    async def readyz() -> dict[str, Any]:
        if service.draining.is_set():
            raise Problem(503, "draining", "this server is shutting down")
        return identity()

    @app.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_class=PlainTextResponse,
        responses=problems.refusals(503),
        **described,
    )
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)


def _add_plans(app: FastAPI, service: Service) -> None:
    described: dict[str, Any] = {"tags": ["data"], "response_model": None}

    @app.get(
        "/v1/datasets",
        summary="What is served",
        responses=answer(openapi.Datasets, 422, 503, links=openapi.OF_DATASETS),
        **described,
    )
    async def datasets(request: Request) -> dict[str, Any]:
        _only_known(request)
        allowed = [dataset for dataset in service.catalog if grant_of(request).allows(dataset.name)]
        return {**identity(), "datasets": [dataset.to_json() for dataset in allowed]}

    @app.get(
        "/v1/datasets/{name}", summary="One dataset", responses=answer(openapi.Dataset, 403, 404, 422, 503), **described
    )
    async def dataset(request: Request, name: str) -> dict[str, Any]:
        _only_known(request)
        grant_of(request).check(name)
        return service.catalog.dataset(name).to_json()

    @app.get(
        "/v1/datasets/{name}/problems",
        summary="What was replaced, since it cannot be decoded",
        responses=answer(openapi.Troubles, 403, 404, 422, 503),
        **described,
    )
    async def troubles(request: Request, name: str) -> dict[str, Any]:
        _only_known(request)
        grant_of(request).check(name)
        dataset = service.catalog.dataset(name).name
        return {"dataset": dataset, "problems": await run_in_threadpool(service.troubles.to_json, dataset)}

    @app.post(
        "/v1/plans",
        summary="Resolve a plan",
        openapi_extra=openapi.plan_body(service.custom),
        responses=answer(PlanInfo, 403, 404, 413, 422, 503, links=openapi.OF_PLAN),
        **described,
    )
    async def plans(request: Request) -> dict[str, Any]:
        _only_known(request)
        data = await _json(request)
        resolved = await run_in_threadpool(service.plans.add, data, grant_of(request))
        return resolved.info.to_json()


def _add_batches(app: FastAPI, service: Service) -> None:
    @app.get(
        "/v1/plans/{plan_id}/epochs/{epoch}/slices/{start}-{stop}",
        tags=["data"],
        summary="One batch: the samples at positions [start, stop) of an epoch's order",
        response_class=Response,
        responses={**KEPT_FRAMES, **problems.refusals(403, 404, 416, 422, 500, 503)},
    )
    async def slices(
        request: Request,
        plan_id: openapi.PlanId,
        epoch: openapi.Epoch,
        start: openapi.Position,
        stop: openapi.Position,
        checksum: openapi.Checksum = None,
        if_none_match: openapi.IfNoneMatch = None,
    ) -> Response:
        _only_known(request, "checksum")
        address = Address(_allowed(request, service.plans.get(plan_id)), epoch, start, stop, checksum is not None)
        headers = {"ETag": _etag(address), "Cache-Control": _IMMUTABLE}
        if _has(if_none_match or "", headers["ETag"]):
            service.check(address)
            return Response(status_code=304, headers=headers)
        made = await while_connected(service.slice(address, _client(request)), request.receive)
        if made is None:
            return Response(status_code=499)  # nobody hears it
        return FrameStream(_only(made), {**headers, "Content-Length": str(made.nbytes)})

    @app.get(
        "/v1/plans/{plan_id}/stream",
        tags=["data"],
        summary="The slices [start + k stride, + count) of an epoch for k = 0, 1, ..., then an `end` frame",
        response_class=Response,
        responses={**FRAMES, **problems.refusals(403, 404, 416, 422, 503)},
    )
    async def stream(
        request: Request,
        plan_id: openapi.PlanId,
        epoch: openapi.EpochAsked,
        count: openapi.Count,
        start: openapi.Start = 0,
        stride: openapi.Stride = None,
        stop: openapi.Stop = None,
        checksum: openapi.Checksum = None,
    ) -> Response:
        _only_known(request, "epoch", "count", "start", "stride", "stop", "checksum")
        plan = _allowed(request, service.plans.get(plan_id))
        asked = StreamRequest(
            plan,
            epoch,
            start,
            count,
            count if stride is None else stride,
            plan.samples if stop is None else stop,
            checksum is not None,
        )
        return FrameStream(service.stream(asked, _client(request)), {"Cache-Control": "no-store"})


def _allowed(request: Request, plan: ResolvedPlan) -> ResolvedPlan:
    """The plan. Raises Problem (403) where the request's token is not for its dataset."""
    grant_of(request).check(plan.dataset.name)
    return plan


async def _json(request: Request) -> Any:
    """The request's body as JSON data. Raises Problem where it is too long or no JSON."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_PLAN_BYTES:
            raise Problem(413, "plan too large", f"a plan has at most {MAX_PLAN_BYTES} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Problem(422, "not JSON", f"the request's body is not JSON: {error}") from error


def _only_known(request: Request, *names: str) -> None:
    """Raises Problem (422) for a parameter that does not exist; ignored, it would give batches that nobody meant."""
    for name in request.query_params:
        if name not in names:
            detail = f"there is no parameter {found(name)}; there are {', '.join(names) or 'none here'}"
            raise Problem(422, "unknown parameter", detail)


def _client(request: Request) -> str:
    """Whom the work is done for; streams that name the same client share one share."""
    host = request.client.host if request.client else ""
    return f"{host} {request.headers.get('headrace-client', '')[:64]}"


def _etag(address: Address) -> str:
    plan = address.plan.info
    place = f"{address.epoch}-{address.start}-{address.stop}"
    return f'"{plan.id}-{place}-{plan.engine}{"-crc32" if address.checksum else ""}"'.replace(" ", "")


def _has(if_none_match: str, etag: str) -> bool:
    """Whether the client's cache holds what has this tag (RFC 9110, 13.1.2, by weak comparison)."""
    held = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in held or held == ["*"]


async def _only(made: Frame) -> AsyncGenerator[Frame, None]:
    yield made
