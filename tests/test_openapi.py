"""The document's schema of plans allows what the server takes, to the last bit of every bound."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import Any

import pytest

from headrace_proto.plan import Plan
from headrace_proto.transforms import BUILT_IN
from headrace_server.openapi import plan_schema
from headrace_server.transforms.custom import CustomTransforms
from headrace_server.transforms.declared import Declared

jsonschema_rs = pytest.importorskip("jsonschema_rs")

SCHEMA = plan_schema(CustomTransforms({}))
TRANSFORMS = {
    each["properties"]["name"]["const"]: each
    for each in SCHEMA["properties"]["transforms"]["anyOf"][0]["items"]["oneOf"]
}
GOOD = {"size": 8, "degrees": 10, "mean": 0.5, "std": 0.5}
ANYTHING = [None, True, "", "x", "bilinear", "horizontal", "vertical", "float16", "uint8", "NCHW", 1, 3, 0.5, -1]
"""Values for every field, most of them wrong."""


def bounds(schema: dict[str, Any]) -> Iterator[float]:
    """The numbers at the schema's bounds, and those next to them on either side."""
    for key in schema.keys() & {"minimum", "maximum", "exclusiveMaximum"}:
        bound = schema[key]
        if schema["type"] == "integer":
            yield from (bound - 1, bound, bound + 1)
        else:
            yield from (math.nextafter(bound, -math.inf), bound, math.nextafter(bound, math.inf))
    for part in [*schema.get("anyOf", ()), schema.get("items")]:
        if part is not None:
            yield from bounds(part)


def values(schema: dict[str, Any]) -> Iterator[Any]:
    """Values at the schema's bounds and beyond, alone and in lists of all lengths."""
    numbers = sorted({*bounds(schema)}) or [1]
    yield from [*ANYTHING, *numbers, {}, [], ["x"], [None, None], numbers[:2], numbers[-2:]]
    yield from ([number] * length for number in numbers for length in range(1, 5))


def needed(name: str) -> dict[str, Any]:
    """Good values of the fields that a transform cannot do without."""
    return {field: GOOD[field] for field in TRANSFORMS[name]["required"] if field != "name"}


def is_taken(plan: dict[str, Any]) -> bool:
    try:
        Plan.from_json(plan)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_transform_s_fields_are_allowed_what_they_may_be(name: str) -> None:
    for field, schema in TRANSFORMS[name]["properties"].items():
        if field == "name":
            continue
        verdicts = set()
        for value in values(schema):
            plan = {"dataset": "flowers", "transforms": [{"name": name, **needed(name), field: value}]}
            taken = jsonschema_rs.is_valid(SCHEMA, plan)
            assert taken == is_taken(plan), (field, value)
            verdicts.add(taken)
        assert verdicts == {True, False}, field


@pytest.mark.parametrize("field", [field for field in SCHEMA["properties"] if field != "transforms"])
def test_a_plan_s_fields_are_allowed_what_they_may_be(field: str) -> None:
    verdicts = set()
    for value in values(SCHEMA["properties"][field]):
        plan = {"dataset": "flowers", field: value}
        taken = jsonschema_rs.is_valid(SCHEMA, plan)
        assert taken == is_taken(plan), value
        verdicts.add(taken)
    assert verdicts == {True, False}


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_transform_without_a_field_that_it_needs_or_with_one_that_it_lacks_is_not_allowed(name: str) -> None:
    whole = {"name": name, **needed(name)}
    wrong = [{field: whole[field] for field in whole if field != left_out} for left_out in whole]
    for transform in (whole, *wrong, {**whole, "colour": 1}):
        plan = {"dataset": "flowers", "transforms": [transform]}
        assert jsonschema_rs.is_valid(SCHEMA, plan) == is_taken(plan) == (transform is whole), transform


def test_an_operator_s_transform_is_allowed_with_the_options_that_it_needs() -> None:
    def tint(image: Any, labels: Any, rng: Any, *, hue: int, strength: float = 0.5) -> None: ...

    options = dict(list(inspect.signature(tint).parameters.items())[3:])
    schema = plan_schema(CustomTransforms({"tint": Declared("tint", tint, 1, None, options, any_option=False)}))
    for transform, allowed in (
        ({"name": "tint", "hue": 1}, True),
        ({"name": "tint", "hue": [1], "strength": 2}, True),
        ({"name": "tint"}, False),
        ({"name": "taint", "hue": 1}, False),
    ):
        assert jsonschema_rs.is_valid(schema, {"dataset": "flowers", "transforms": [transform]}) == allowed
