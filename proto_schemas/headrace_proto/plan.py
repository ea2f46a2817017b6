"""The plan: what a client asks for, and what a server answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from . import checks
from .transforms import Transform, transform_from_json

LAYOUTS = ("NHWC", "NCHW")
DTYPES = ("uint8", "float32", "float16")
RESERVED = ("subset", "filter", "mix")
"""Field names kept for later, so that a plan that uses none of them keeps its id when they come."""
MAX_TRANSFORMS = 64
"""Of one plan, which is more than anybody needs: each takes time for every sample."""
MAX_AXES = 31
"""Of one sample; NumPy's arrays had at most 32 before its version 2, and a batch's first axis is one of them."""


@dataclass(frozen=True)
class Plan:
    """What to send: a dataset's split, through transforms, in an order.

    `transforms=None` takes the dataset's default. `dtype=None` is what the transforms end in (uint8, or Normalize's);
    "float32" or "float16" without Normalize are the values 0-255 as floats. `layout` is of the images on the wire.
    """

    dataset: str
    split: str | None = None
    transforms: tuple[Transform, ...] | None = None
    shuffle: bool = False
    seed: int = 0
    dtype: Literal["uint8", "float32", "float16"] | None = None
    layout: Literal["NHWC", "NCHW"] = "NHWC"

    def __post_init__(self) -> None:
        checks.text("dataset", self.dataset)
        if self.split is not None:
            checks.text("split", self.split)
        if self.transforms is not None:
            items = _list("transforms", self.transforms)
            if len(items) > MAX_TRANSFORMS:
                raise ValueError(f"a plan has at most {MAX_TRANSFORMS} transforms, found {len(items)}")
            parsed = tuple(transform_from_json(item) for item in items)
            object.__setattr__(self, "transforms", parsed)
        object.__setattr__(self, "shuffle", checks.boolean("shuffle", self.shuffle))
        object.__setattr__(self, "seed", checks.integer("seed", self.seed, 0))
        object.__setattr__(self, "dtype", checks.one_of("dtype", self.dtype, (*DTYPES, None)))
        object.__setattr__(self, "layout", checks.one_of("layout", self.layout, LAYOUTS))

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON data, without the fields that are at their default."""
        data: dict[str, Any] = {"dataset": self.dataset}
        if self.split is not None:
            data["split"] = self.split
        if self.transforms is not None:
            data["transforms"] = [transform.to_json() for transform in self.transforms]
        if self.shuffle:
            data["shuffle"] = True
        if self.seed:
            data["seed"] = self.seed
        if self.dtype is not None:
            data["dtype"] = self.dtype
        if self.layout != "NHWC":
            data["layout"] = self.layout
        return data

    @classmethod
    def from_json(cls, data: Any) -> Plan:
        """The plan in JSON data. Raises ValueError naming the field, what was found and what was expected."""
        if not isinstance(data, Mapping):
            raise ValueError(f'a plan must be an object like {{"dataset": "flowers"}}, found {checks.found(data)}')
        fields = cls.__dataclass_fields__
        for key in data:
            if key in RESERVED:
                raise ValueError(f"the plan's field {key!r} is reserved for a later version")
            if key not in fields:
                raise ValueError(f"a plan has no field {checks.found(key)}; its fields are {', '.join(fields)}")
        if "dataset" not in data:
            raise ValueError("a plan needs the field 'dataset'")
        return cls(**data)


@dataclass(frozen=True)
class Output:
    """One column of a batch: its name, dtype ("uint8", "int64", ..., or "str"), and one sample's shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, data: Any) -> Output:
        sides = _list("an output's shape", data["shape"])
        if len(sides) > MAX_AXES:
            raise ValueError(f"an output's shape has at most {MAX_AXES} sides, found {len(sides)}")
        shape = tuple(checks.integer("an output's shape", side, 1) for side in sides)
        return cls(
            checks.text("an output's name", data["name"]), checks.text("an output's dtype", data["dtype"]), shape
        )


@dataclass(frozen=True)
class PlanInfo:
    """A server's answer to a plan."""

    id: str
    engine: str
    dataset: str
    split: str
    samples: int
    outputs: tuple[Output, ...]
    plan: Mapping[str, Any]
    """The plan with every default filled in by the server, as JSON data."""
    fingerprint: str
    classes: tuple[str, ...] | None
    replace_budget: float
    """The share of an epoch's samples that may be replaced before the client raises."""

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "engine": self.engine,
            "dataset": self.dataset,
            "split": self.split,
            "samples": self.samples,
            "outputs": [output.to_json() for output in self.outputs],
            "plan": dict(self.plan),
            "fingerprint": self.fingerprint,
            "classes": None if self.classes is None else list(self.classes),
            "replace_budget": self.replace_budget,
        }

    @classmethod
    def from_json(cls, data: Any) -> PlanInfo:
        """The answer in JSON data. Unknown keys are ignored; raises ValueError if it is no plan's answer."""
        try:
            return cls(
                id=checks.text("a plan's id", data["id"]),
                engine=checks.text("engine", data["engine"]),
                dataset=checks.text("dataset", data["dataset"]),
                split=checks.text("split", data["split"]),
                samples=checks.integer("samples", data["samples"], 0),
                outputs=tuple(Output.from_json(output) for output in _list("outputs", data["outputs"])),
                plan=dict(data["plan"]),
                fingerprint=checks.text("fingerprint", data["fingerprint"]),
                classes=None if data["classes"] is None else _strings("classes", data["classes"]),
                replace_budget=checks.number("replace_budget", data["replace_budget"], 0.0, 1.0),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a plan's answer: {_reason(error)}, in {checks.found(data)}") from error


def _reason(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def _strings(where: str, value: Any) -> tuple[str, ...]:
    return tuple(checks.string(where, item) for item in _list(where, value))


def _list(where: str, value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{where} must be a list, found {checks.found(value)}")
    return list(value)
