"""What schemathesis is told beside the OpenAPI document, in its process: good values, and checks of headrace's own."""

from __future__ import annotations

import json
import os
from typing import Any

import schemathesis
from harness import frames_of
from schemathesis import Case, CheckContext, HookContext, Response

from headrace_proto.plan import Plan

EXAMPLES: dict[str, list[Any]] = json.loads(os.environ["HEADRACE_EXAMPLES"])
"""By a parameter's name, values that the running server knows."""


@schemathesis.hook
def before_load_schema(_: HookContext, raw_schema: dict[str, Any]) -> None:
    """Gives parameters their examples, around which the cases at bounds are made."""
    for operations in raw_schema["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in EXAMPLES:
                    parameter["schema"]["examples"] = EXAMPLES[parameter["name"]]


@schemathesis.check
def refusals_are_problems(_: CheckContext, response: Response, case: Case[Any]) -> None:
    """Also those of methods that no operation has, which the document cannot tell."""
    if response.status_code < 400:
        return
    assert response.headers["content-type"] == ["application/problem+json"], case
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["title"]
    assert problem["detail"]
    assert "\n" not in problem["detail"]


@schemathesis.check
def frames_are_whole(_: CheckContext, response: Response, case: Case[Any]) -> None:
    if response.status_code != 200 or response.headers["content-type"] != ["application/vnd.headrace.frames"]:
        return
    headers = [header for header, _ in frames_of(response.content)]
    if case.operation.path.endswith("/stream"):
        end = headers.pop()
        assert (end["kind"], end["reason"]) == ("end", "complete")
    else:
        assert len(headers) == 1
    assert {header["kind"] for header in headers} <= {"batch", "ping"}


@schemathesis.check
def what_the_document_allows_is_refused_with_good_reason(_: CheckContext, response: Response, case: Case[Any]) -> None:
    """For what JSON Schema cannot say: what makes no batch or a large one, and which of two numbers is greater."""
    positive = case.meta is not None and case.meta.generation.mode.is_positive
    if response.status_code != 422 or not positive:
        return
    detail = response.json()["detail"]
    if case.operation.path == "/v1/plans":
        wrong = misunderstanding(case.body)
        assert wrong is None or any(reason in wrong for reason in ("must be [least, greatest]", ": an option")), wrong
    elif "this server allows" not in detail:
        assert case.operation.path.endswith("{start}-{stop}"), detail
        assert "count must be a whole number from 1" in detail


def misunderstanding(body: Any) -> str | None:
    """Why a body is no plan, but for integers like 8.0; None if it is one, which may be refused for other reasons."""
    try:
        Plan.from_json(json.loads(json.dumps(body), parse_float=without_fraction))
    except ValueError as error:
        return str(error)
    return None


def without_fraction(text: str) -> float:
    """JSON Schema takes 8.0 for an integer, and the server does not."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
