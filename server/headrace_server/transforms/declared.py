"""One transform of the operator's: a function imported, its declarations checked, its options validated, and run."""

from __future__ import annotations

import copy
import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from headrace_proto import transforms as proto
from headrace_proto.checks import found
from headrace_server.errors import ConfigurationError

from .base import Image, PlanError, Sample, Shape, Step, TransformError

OutputShape = Callable[..., tuple[int | None, int | None, int]]

_GIVEN = 3  # image, labels and rng come from the server
_REQUIRED = inspect.Parameter.empty
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Declared:
    """An operator's transform, imported and checked."""

    name: str
    function: Callable[..., Any]
    version: int | str
    output_shape: OutputShape | None
    options: Mapping[str, inspect.Parameter]
    any_option: bool
    """Whether the function takes **options beyond those it names."""

    def checked(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options, without those at their default. Raises PlanError naming what exists."""
        unknown = [] if self.any_option else [name for name in options if name not in self.options]
        if unknown:
            raise PlanError(f"{self.name} has no option {found(unknown[0])}; {self._existing()}")
        for name, parameter in self.options.items():
            if parameter.default is _REQUIRED and name not in options:
                raise PlanError(f"{self.name} needs the option {name!r}; {self._existing()}")
        return {name: value for name, value in options.items() if not self._is_default(name, value)}

    def with_defaults(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options, for `output_shape`, which need not repeat the function's defaults."""
        defaults = {name: parameter.default for name, parameter in self.options.items()}
        return {**{name: default for name, default in defaults.items() if default is not _REQUIRED}, **options}

    def describe(self) -> dict[str, Any]:
        """The transform as a listing shows it, as JSON data."""
        options = {
            name: {"required": True} if parameter.default is _REQUIRED else _with_default(parameter)
            for name, parameter in self.options.items()
        }
        documentation = inspect.getdoc(self.function) or ""
        return {"description": documentation.partition("\n")[0], "version": self.version, "options": options}

    def _existing(self) -> str:
        return f"its options are {', '.join(self.options)}" if self.options else "it has no options"

    def _is_default(self, name: str, value: Any) -> bool:
        default = self.options[name].default if name in self.options else _REQUIRED
        return type(value) is type(default) and _is_json(default) and bool(value == default)


class CustomStep(Step):
    """An operator's transform with a plan's options. Raises PlanError if they are not what the function takes."""

    random = True

    def __init__(self, transform: Declared, options: Mapping[str, Any], index: int) -> None:
        self._transform = transform
        self._options = transform.checked(options)
        self._all_options = transform.with_defaults(self._options)
        self._index = index

    def shape(self, before: Shape) -> Shape:
        try:
            return self._declared_shape(before)
        except Exception as error:
            raise PlanError(f"{self._transform.name}: its output_shape failed: {_described(error)}") from error

    def apply(self, image: Image, sample: Sample, _out: Image | None, /) -> Image:
        # Copies, since the function may change both, and the image may be in a cache or a view of a larger one.
        given, options = np.array(image), copy.deepcopy(self._options)
        try:
            expected = self._declared_shape(Shape(*image.shape))
            rng = sample.draws(self._index)
            result = self._transform.function(given, MappingProxyType(dict(sample.labels)), rng, **options)
        except Exception as error:
            raise TransformError(f"transform {self._transform.name!r} failed: {_described(error)}") from error
        self._check(result, expected)
        return np.ascontiguousarray(result)

    def _declared_shape(self, before: Shape) -> Shape:
        if self._transform.output_shape is None:
            return before
        height, width, channels = self._transform.output_shape(*before, **self._all_options)
        shape = Shape(height, width, channels)
        if channels not in (1, 3) or any(side is not None and side < 1 for side in shape):
            raise ValueError(f"expected (height, width, 1 or 3) with sides of at least 1 or None, found {tuple(shape)}")
        return shape

    def _check(self, result: Any, expected: Shape) -> None:
        if not isinstance(result, np.ndarray):
            what = f"a {type(result).__name__}"
        elif result.dtype != np.uint8 or not _fits(result.shape, expected):
            what = f"an array of {result.dtype} and shape {result.shape}"
        else:
            return
        sides = tuple("any" if side is None else side for side in expected)
        raise TransformError(
            f"transform {self._transform.name!r} returned {what}, expected an array of uint8 and shape "
            f"({', '.join(map(str, sides))}), as it declares"
        )


def declared(name: str, target: str) -> Declared:
    """Imports the transform `name` from "module:function". Raises ConfigurationError saying what is wrong with it."""
    where = f"transform {name!r} ({target})"
    if name in proto.BUILT_IN:
        raise ConfigurationError(f"{where}: the name is a built-in transform's; give it another one")
    function = _imported(where, target)
    version = getattr(function, "version", None)
    if isinstance(version, bool) or not isinstance(version, (int, str)) or version == "":
        raise ConfigurationError(
            f"{where}: expected a version, a number or a string, found {found(version)}; "
            f"declare one with @transform(version=1)"
        )
    options, any_option = _options(where, function)
    return Declared(name, function, version, getattr(function, "output_shape", None), options, any_option)


def _imported(where: str, target: str) -> Callable[..., Any]:
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise ConfigurationError(f'{where}: expected "module:function"')
    try:
        value: Any = importlib.import_module(module_name)
        for attribute in path.split("."):
            value = getattr(value, attribute)
    except Exception as error:
        raise ConfigurationError(f"{where}: cannot be imported: {_described(error)}") from error
    if not callable(value):
        raise ConfigurationError(f"{where}: expected a function, found {found(value)}")
    return value  # type: ignore[no-any-return]


def _options(where: str, function: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
    """The parameters after the first three, and whether any other option is taken too."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{where}: its parameters are unknown: {error}") from error
    if [parameter.kind in _POSITIONAL for parameter in parameters[:_GIVEN]] != [True] * _GIVEN:
        raise ConfigurationError(f"{where}: expected function(image, labels, rng, **options), found {parameters}")
    options = {parameter.name: parameter for parameter in parameters[_GIVEN:] if parameter.kind in _NAMED}
    if "name" in options:
        raise ConfigurationError(f"{where}: no option can be called 'name', which is the transform's own in a plan")
    return options, any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)


def _with_default(parameter: inspect.Parameter) -> dict[str, Any]:
    return {"default": parameter.default} if _is_json(parameter.default) else {}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _fits(shape: tuple[int, ...], expected: Shape) -> bool:
    return len(shape) == 3 and all(want in (None, side) for side, want in zip(shape, expected, strict=True))


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")
