"""The OpenAPI document: parameters, answers, plans by the same classes that validate them, and all refusals."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, Path, Query
from pydantic import BaseModel, Field, NonNegativeInt, TypeAdapter, WithJsonSchema

from headrace_proto.checks import MAX_SIDE
from headrace_proto.frame import MAX_ENTRIES
from headrace_proto.plan import MAX_TRANSFORMS, Plan
from headrace_proto.transforms import BUILT_IN

from . import guard, problems
from .settings import Policy
from .transforms.custom import CustomTransforms

# A float, which FastAPI makes of them, holds 2^63 exactly, and not 2^63 - 1.
_NATURAL: dict[str, Any] = {"type": "integer", "minimum": 0, "exclusiveMaximum": 2**63}
_POSITIVE: dict[str, Any] = {"type": "integer", "minimum": 1, "exclusiveMaximum": 2**63}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": MAX_ENTRIES}
_BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}


# Parameters. Their schemas are for readers only: a position out of bounds is to be 416, which FastAPI's checks are not,
# and null stands for what was left out, which nobody can send.

_natural, _positive = WithJsonSchema(_NATURAL), WithJsonSchema(_POSITIVE)
PlanId = Annotated[str, Path(description="the `id` that POST /v1/plans answered")]
Epoch = Annotated[int, _natural, Path(description="which pass over the samples, from 0")]
Position = Annotated[int, _natural, Path(description="in the epoch's order")]
EpochAsked = Annotated[int, _natural, Query(description="which pass over the samples, from 0")]
Count = Annotated[int, WithJsonSchema(_COUNT), Query(description="samples in a batch")]
Start = Annotated[int, _natural, Query(description="the first batch's first position")]
Stride = Annotated[int | None, _positive, Query(description="positions from a batch to the next; left out: count")]
Stop = Annotated[int | None, _natural, Query(description="slices are clipped here; left out: the epoch's end")]
Checksum = Annotated[
    Literal["crc32"] | None,
    WithJsonSchema({"const": "crc32"}),
    Query(description="ends each frame's header in a checksum"),
]
IfNoneMatch = Annotated[
    str | None, WithJsonSchema({"type": "string"}), Header(description="the ETags that a cache has")
]


# Answers. They have more keys as the protocol grows, so none is forbidden.


class Identity(BaseModel):
    """What tells a client that it has found a headrace server, and of which version."""

    service: Literal["headrace"]
    protocol: NonNegativeInt
    version: str
    engine: str = Field(description="the decoders' versions")


class Split(BaseModel):
    samples: NonNegativeInt
    labels: bool


class Dataset(BaseModel):
    name: str
    fingerprint: str
    splits: dict[str, Split]
    classes: list[str] | None
    fields: list[str]
    transforms: list[dict[str, Any]] = Field(description="those of a plan that names none")
    on_error: Policy
    replace_budget: float
    skipped: dict[str, NonNegativeInt] = Field(description="files that were left out, by reason")


class Datasets(Identity):
    datasets: list[Dataset]


class Trouble(BaseModel):
    """A sample that cannot be decoded, and how often another one was sent in its place."""

    split: str
    key: str
    reason: str
    times: NonNegativeInt


class Troubles(BaseModel):
    dataset: str
    problems: list[Trouble]


def answer(model: Any, *statuses: int, links: dict[str, Any] | None = None) -> dict[int | str, dict[str, Any]]:
    """For a route: JSON that looks like `model`, or a refusal with one of the statuses."""
    good = {"model": model, "description": "Successful", **({} if links is None else {"links": links})}
    return {200: good, **problems.refusals(*statuses)}


def _link(operation: str, what: str, **parameters: str) -> dict[str, Any]:
    """Says that an answer's values are another operation's parameters."""
    return {operation: {"operationId": operation, "description": what, "parameters": parameters}}


OF_DATASETS = _link("dataset", "the first of them", name="$response.body#/datasets/0/name")
OF_PLAN = {
    **_link("stream", "the batches of an epoch", plan_id="$response.body#/id"),
    **_link("slices", "one batch", plan_id="$response.body#/id"),
}


# Plans


def _pair(item: dict[str, Any], least: int = 2) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": least, "maxItems": 2}


def _between(low: float, high: float, kind: str = "number") -> dict[str, Any]:
    return {"type": kind, "minimum": low, "maximum": high}


def _number_or_range(most: float, low: float, high: float) -> dict[str, Any]:
    return {"anyOf": [_between(0, most), _pair(_between(low, high))]}


def _of_channels(low: float, high: float) -> dict[str, Any]:
    number = _between(low, high)
    lists = [{"type": "array", "items": number, "minItems": length, "maxItems": length} for length in (1, 3)]
    return {"anyOf": [number, *lists]}


_SIDE, _PADDING = _between(1, MAX_SIDE, "integer"), _between(0, MAX_SIDE, "integer")
_FACTOR = _number_or_range(100, 0, 100)
_FIELDS = {
    "size": {"anyOf": [_SIDE, _pair(_SIDE, 1)]},
    "padding": {"anyOf": [_PADDING, _pair(_PADDING)]},
    "fill": _between(0, 255, "integer"),
    "scale": _pair(_between(1e-6, 1)),
    "ratio": _pair(_between(1e-3, 1e3)),
    "p": _between(0, 1),
    "degrees": _number_or_range(360, -360, 360),
    "brightness": _FACTOR,
    "contrast": _FACTOR,
    "saturation": _FACTOR,
    "hue": _number_or_range(0.5, -0.5, 0.5),
    "mean": _of_channels(-1e6, 1e6),
    "std": _of_channels(1e-6, 1e6),
}
"""The bounds of transforms' fields, which their types do not tell."""


def plan_schema(custom: CustomTransforms) -> dict[str, Any]:
    """JSON Schema of a plan, with every transform that this server knows."""
    schema = TypeAdapter(Plan).json_schema()
    schema.pop("$defs", None)
    fields = schema["properties"]
    transforms = [_built_in(name, kind) for name, kind in BUILT_IN.items()]
    transforms += [_custom(name, described) for name, described in custom.describe().items()]
    fields["transforms"] = {
        "anyOf": [{"type": "array", "maxItems": MAX_TRANSFORMS, "items": {"oneOf": transforms}}, {"type": "null"}],
        "default": None,
    }
    fields["dataset"] |= {"minLength": 1, "examples": ["flowers"]}
    fields["split"]["anyOf"][0]["minLength"] = 1
    fields["seed"] |= _NATURAL
    schema["additionalProperties"] = False
    return schema


def _built_in(name: str, kind: type) -> dict[str, Any]:
    schema = TypeAdapter(kind).json_schema()
    fields = {field: _bounded(field, said) for field, said in schema["properties"].items()}
    schema["properties"] = {"name": {"const": name}, **fields}
    schema["required"] = ["name", *schema.get("required", [])]
    schema["additionalProperties"] = False
    return schema


def _bounded(field: str, said: dict[str, Any]) -> dict[str, Any]:
    if field not in _FIELDS:
        return said
    return {**_FIELDS[field], **{key: said[key] for key in ("title", "default") if key in said}}


def _custom(name: str, described: dict[str, Any]) -> dict[str, Any]:
    """An operator's transform; of its options only the function itself knows what they may be."""
    options = described["options"].items()
    defaults = {option: {"default": said["default"]} if "default" in said else {} for option, said in options}
    return {
        "type": "object",
        "title": name,
        "description": described["description"],
        "properties": {"name": {"const": name}, **defaults},
        "required": ["name", *(option for option, said in options if said.get("required"))],
    }


def plan_body(custom: CustomTransforms) -> dict[str, Any]:
    """What FastAPI adds to the operation that takes a plan."""
    content = {"application/json": {"schema": plan_schema(custom)}}
    return {"requestBody": {"required": True, "content": content}}


# The whole


def _make_exact(schema: Any) -> None:
    """FastAPI makes floats of bounds, which do not hold the greatest integers as they are written."""
    for key, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if isinstance(value, (dict, list)):
            _make_exact(value)
        elif key in _BOUNDS and isinstance(value, float) and value.is_integer():
            schema[key] = int(value)


def complete(app: FastAPI, *, tokens: bool, loopback: bool) -> None:
    """Adds to the app's document what its routes do not know: how a refusal looks, and what the guard answers."""
    document = app.openapi()
    _make_exact(document)
    components = document["components"]
    components["schemas"]["Problem"] = problems.SCHEMA
    if tokens:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if not tokens:
                operation["responses"].pop("403", None)  # nobody is refused a dataset
            elif path not in guard.FREE:
                operation["security"] = [{"token": []}]
            statuses = guard.statuses(path, tokens=tokens, loopback=loopback)
            refusals = {str(status): said for status, said in problems.refusals(*statuses).items()}
            operation["responses"] = dict(sorted((operation["responses"] | refusals).items()))
