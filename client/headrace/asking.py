"""Asking servers for what any of them can answer, and all must answer alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from headrace_proto.plan import Plan, PlanInfo

from .endpoint import Endpoint
from .errors import ConnectionFailed, NotHeadrace, RequestRefused, ServiceError
from .servers import Servers
from .waiting import MOST_STRANGE

T = TypeVar("T")


def ask(servers: Servers, question: Callable[[Endpoint], T]) -> tuple[Endpoint, T]:
    """One that answers, and what it answers. Raises what the last one said when it has taken too long."""
    deadline, strange = time.monotonic() + servers.options.retry_timeout, 0
    while True:
        up = servers.wait(deadline, lambda: False)
        if not up:
            raise ConnectionFailed(f"no server is up: {servers.troubles()}")
        try:
            return up[0], question(up[0])
        except ServiceError as error:
            if not _may_pass(error):
                raise
            strange += isinstance(error, NotHeadrace)
            servers.failed(up[0], error)
            over = strange >= MOST_STRANGE or time.monotonic() >= deadline
            if over and not servers.each():
                raise


def agree_on(servers: Servers, plan: Plan, *, twice: bool = False) -> PlanInfo:
    """What the servers answer to a plan; with `twice` every answer must come two times.

    Raises DataChanged, naming one whose batches would be others.
    """
    asked, info = ask(servers, lambda one: one.surely_post_plan(plan) if twice else one.post_plan(plan))
    for endpoint in servers.each():
        try:
            if endpoint is not asked:
                endpoint.expect_plan(plan, info)
        except ServiceError as error:
            if not _may_pass(error):
                raise
            servers.failed(endpoint, error)
    return info


def _may_pass(error: ServiceError) -> bool:
    """Whether it is of use to ask again, or others."""
    return error.passing if isinstance(error, RequestRefused) else isinstance(error, (ConnectionFailed, NotHeadrace))
