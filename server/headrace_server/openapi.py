"""The OpenAPI document of plans: the same classes that validate them, and the operator's transforms."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from headrace_proto.plan import Plan
from headrace_proto.transforms import BUILT_IN

from .transforms.custom import CustomTransforms


def plan_schema(custom: CustomTransforms) -> dict[str, Any]:
    """JSON Schema of a plan, with every transform that this server knows."""
    schema = TypeAdapter(Plan).json_schema()
    schema.pop("$defs", None)
    transforms = [_built_in(name, kind) for name, kind in BUILT_IN.items()]
    transforms += [_custom(name) for name in custom.describe()]
    schema["properties"]["transforms"] = {
        "anyOf": [{"type": "array", "items": {"oneOf": transforms}}, {"type": "null"}],
        "default": None,
    }
    schema["additionalProperties"] = False
    return schema


def _built_in(name: str, kind: type) -> dict[str, Any]:
    schema = TypeAdapter(kind).json_schema()
    schema["properties"] = {"name": {"const": name}, **schema["properties"]}
    schema["required"] = ["name", *schema.get("required", [])]
    schema["additionalProperties"] = False
    return schema


def _custom(name: str) -> dict[str, Any]:
    return {"type": "object", "title": name, "properties": {"name": {"const": name}}, "required": ["name"]}


def plan_body(custom: CustomTransforms) -> dict[str, Any]:
    """What FastAPI adds to the operation that takes a plan."""
    content = {"application/json": {"schema": plan_schema(custom)}}
    return {"requestBody": {"required": True, "content": content}}
