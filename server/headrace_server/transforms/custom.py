"""Transforms that the server's operator adds in plain Python. Clients name them; code never travels.

A function is found by `module:function`, from the configuration or from an installed package's entry point in the group
"headrace.transforms":

    from headrace_server.transforms.custom import transform

    @transform(version=1)
    def noise(image, labels, rng, *, strength=10):
        noisy = image + strength * (rng.array(image.shape) - 0.5)
        return noisy.clip(0, 255).astype("uint8")

`image` is (height, width, channels), uint8, the function's own to change. `labels` is a read-only mapping of the
sample's columns. `rng` is a `Draws`; a transform that takes chance from anywhere else breaks the promise that a sample
is the same on every server. What follows are its options, JSON data that clients may give. It returns an image, uint8,
of the same shape, or of the one that `output_shape(height, width, channels, **options)` says; that is called with None
for a side that is not known beforehand. Several threads call a transform at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any, TypeVar

from headrace_proto import transforms as proto
from headrace_proto.checks import found
from headrace_server.errors import ConfigurationError

from .base import PlanError, Step
from .declared import CustomStep, Declared, OutputShape, declared

ENTRY_POINTS = "headrace.transforms"

Function = TypeVar("Function", bound=Callable[..., Any])


def transform(*, version: int | str, output_shape: OutputShape | None = None) -> Callable[[Function], Function]:
    """Declares a function a transform. `version` is to change whenever the function gives other pixels."""

    def mark(function: Function) -> Function:
        function.version = version  # type: ignore[attr-defined]
        function.output_shape = output_shape  # type: ignore[attr-defined]
        return function

    return mark


class CustomTransforms:
    """The operator's transforms, by name."""

    def __init__(self, by_name: Mapping[str, Declared]) -> None:
        self._by_name = dict(by_name)

    @classmethod
    def load(cls, named: Mapping[str, str]) -> CustomTransforms:
        """Imports those that the configuration names (name to "module:function") and those of installed packages.

        Raises ConfigurationError for one that cannot be imported, has no version, or whose name is taken.
        """
        targets = dict(named)
        for point in metadata.entry_points(group=ENTRY_POINTS):
            if targets.setdefault(point.name, point.value) != point.value:
                raise ConfigurationError(
                    f"transform {point.name!r} is there twice: {targets[point.name]}, and {point.value} "
                    f"of an installed package; give one another name"
                )
        return cls({name: declared(name, target) for name, target in sorted(targets.items())})

    def describe(self) -> dict[str, dict[str, Any]]:
        """By name: `description` (the docstring's first line), `version`, and `options` with their defaults."""
        return {name: one.describe() for name, one in self._by_name.items()}

    def step(self, transform: proto.Custom, index: int) -> Step:
        """The transform at place `index` of a plan, ready to run. Raises PlanError."""
        return CustomStep(self._find(transform), transform.options, index)

    def resolved(self, transform: proto.Custom) -> dict[str, Any]:
        """The transform as JSON data, without options at their default. Raises PlanError."""
        return {"name": transform.name, **self._find(transform).checked(transform.options)}

    def version(self, transform: proto.Custom) -> int | str:
        return self._find(transform).version

    def _find(self, transform: proto.Custom) -> Declared:
        if transform.name not in self._by_name:
            names = [*proto.BUILT_IN, *self._by_name]
            raise PlanError(f"there is no transform {found(transform.name)}; there are {', '.join(names)}")
        return self._by_name[transform.name]
