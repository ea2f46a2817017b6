"""The transforms that a plan may name: plain validated data, the same classes for the client and the server.

In JSON a transform is an object with its class's `name` beside its fields: `{"name": "Resize", "size": [224, 224]}`.
A field at its default is left out, so that a plan's id stays when a later release adds a field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from . import checks

Size: TypeAlias = int | tuple[int, int]
"""One side, or (height, width), in pixels."""
Interpolation: TypeAlias = Literal["bilinear", "bicubic", "nearest"]
FloatDtype: TypeAlias = Literal["float32", "float16"]
INTERPOLATIONS = ("bilinear", "bicubic", "nearest")
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Transform:
    """The base of all transforms. `version` goes into every plan's id: it changes when the pixels do."""

    version: ClassVar[int] = 1

    @property
    def name(self) -> str:
        return type(self).__name__

    def to_json(self) -> dict[str, Any]:
        """The transform as JSON data, without the fields that are at their default."""
        fields: dict[str, Any] = {"name": self.name}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.default is dataclasses.MISSING or value != field.default:
                fields[field.name] = list(value) if isinstance(value, tuple) else value
        return fields

    def _set(self, **values: Any) -> None:
        """Stores fields in their normal form; a frozen dataclass allows it to nobody else."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _where(self, field: str) -> str:
        return f"{self.name}: {field}"


@dataclass(frozen=True)
class Resize(Transform):
    """Resizes to exactly (height, width), or, with one number, until the shorter side has it.

    The longer side of the second form is rounded down, as torchvision does. With `antialias` the filter widens with the
    reduction (Pillow's way); without it four neighbours count, however large the image was.
    """

    size: Size
    antialias: bool = True
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        self._set(size=checks.size(self._where("size"), self.size))
        _check_filter(self)


@dataclass(frozen=True)
class CenterCrop(Transform):
    """Cuts the middle out; an image that is smaller is first padded evenly with `fill` (0-255)."""

    size: Size
    fill: int = 0

    def __post_init__(self) -> None:
        self._set(size=checks.size(self._where("size"), self.size))
        self._set(fill=checks.integer(self._where("fill"), self.fill, 0, 255))


@dataclass(frozen=True)
class RandomCrop(Transform):
    """Cuts a window from a random place, after padding by `padding` pixels on every side, or by (vertical, horizontal).

    An image that is still smaller is padded evenly with `fill` (0-255).
    """

    size: Size
    padding: int | tuple[int, int] = 0
    fill: int = 0

    def __post_init__(self) -> None:
        self._set(size=checks.size(self._where("size"), self.size))
        self._set(fill=checks.integer(self._where("fill"), self.fill, 0, 255))
        where, padding = self._where("padding"), checks.plain(self.padding)
        if checks.is_list(padding):
            pair = checks.sequence(where, padding, (2,))
            self._set(padding=tuple(checks.integer(where, side, 0, checks.MAX_SIDE) for side in pair))
        else:
            self._set(padding=checks.integer(where, padding, 0, checks.MAX_SIDE))


@dataclass(frozen=True)
class RandomResizedCrop(Transform):
    """Cuts a window of random area and aspect and resizes it to `size` (the Inception crop, as in torchvision).

    `scale` bounds the window's share of the image's area, `ratio` its width over its height.
    """

    size: Size
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    antialias: bool = True
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        self._set(size=checks.size(self._where("size"), self.size))
        self._set(scale=checks.interval(self._where("scale"), self.scale, 1e-6, 1.0))
        self._set(ratio=checks.interval(self._where("ratio"), self.ratio, 1e-3, 1e3))
        _check_filter(self)


@dataclass(frozen=True)
class RandomFlip(Transform):
    """Mirrors the image with probability `p`: left and right ("horizontal"), or top and bottom ("vertical")."""

    p: float = 0.5
    axis: Literal["horizontal", "vertical"] = "horizontal"

    def __post_init__(self) -> None:
        self._set(p=checks.number(self._where("p"), self.p, 0.0, 1.0))
        self._set(axis=checks.one_of(self._where("axis"), self.axis, ("horizontal", "vertical")))


@dataclass(frozen=True)
class RandomRotation(Transform):
    """Rotates about the middle by a random angle, bilinear, keeping the size; what comes in is `fill` (0-255).

    `degrees` is the bound on either side, or (least, greatest), counter-clockwise.
    """

    degrees: float | tuple[float, float]
    fill: int = 0

    def __post_init__(self) -> None:
        where, degrees = self._where("degrees"), checks.plain(self.degrees)
        if checks.is_list(degrees):
            self._set(degrees=checks.interval(where, degrees, -360.0, 360.0))
        else:
            self._set(degrees=checks.number(where, degrees, 0.0, 360.0))
        self._set(fill=checks.integer(self._where("fill"), self.fill, 0, 255))


@dataclass(frozen=True)
class ColorJitter(Transform):
    """Changes brightness, contrast, saturation and hue by random factors, in a random order (as in torchvision).

    The first three are a bound d, for a factor from max(0, 1 - d) to 1 + d, or (least, greatest) factor; `hue` is a
    bound in turns of the colour circle from 0 to 0.5, or (least, greatest) in -0.5 to 0.5.
    """

    brightness: float | tuple[float, float] = 0.0
    contrast: float | tuple[float, float] = 0.0
    saturation: float | tuple[float, float] = 0.0
    hue: float | tuple[float, float] = 0.0

    def __post_init__(self) -> None:
        for field, low, high in (
            ("brightness", 0.0, 100.0),
            ("contrast", 0.0, 100.0),
            ("saturation", 0.0, 100.0),
            ("hue", -0.5, 0.5),
        ):
            where, value = self._where(field), checks.plain(getattr(self, field))
            if checks.is_list(value):
                self._set(**{field: checks.interval(where, value, low, high)})
            else:
                self._set(**{field: checks.number(where, value, 0.0, high)})


@dataclass(frozen=True)
class Grayscale(Transform):
    """Luma by ITU-R 601-2, to the bit what Pillow's `convert("L")` gives, in 1 channel or repeated in 3."""

    channels: Literal[1, 3] = 1

    def __post_init__(self) -> None:
        self._set(channels=checks.one_of(self._where("channels"), self.channels, (1, 3)))


@dataclass(frozen=True)
class Normalize(Transform):
    """(value / 255 - mean) / std for each channel, as floats. Must come last. One number serves all channels.

    Sends two or four times the bytes that uint8 needs; on a GPU, normalising after the transfer is free.
    """

    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]
    dtype: FloatDtype = "float32"

    def __post_init__(self) -> None:
        self._set(mean=self._channels("mean", -1e6, 1e6), std=self._channels("std", 1e-6, 1e6))
        self._set(dtype=checks.one_of(self._where("dtype"), self.dtype, ("float32", "float16")))

    def _channels(self, field: str, low: float, high: float) -> float | tuple[float, ...]:
        where, value = self._where(field), checks.plain(getattr(self, field))
        if not checks.is_list(value):
            return checks.number(where, value, low, high)
        return tuple(checks.number(where, item, low, high) for item in checks.sequence(where, value, (1, 3)))


@dataclass(frozen=True, init=False)
class Custom(Transform):
    """A transform that the server's operator added, by its name, with its own options: `Custom("blur", radius=2)`.

    Options are what JSON can hold; a tuple becomes a list, and a NumPy number Python's own.
    """

    custom_name: str
    options: Mapping[str, Any]

    def __init__(self, custom_name: str, /, **options: Any) -> None:
        name = checks.text("Custom: name", custom_name)
        if len(name) > _LONGEST_NAME:
            raise ValueError(f"Custom: name has at most {_LONGEST_NAME} characters, found {checks.found(name)}")
        if name in BUILT_IN:
            raise ValueError(f"{name} is built in: use headrace.{name}, not Custom({name!r})")
        if "name" in options:
            raise ValueError(f"{checks.found(name)}: no option can be called 'name', where the transform's own stands")
        self._set(custom_name=name, options=checks.json_data(f"{checks.found(name)}: an option", options))

    @property
    def name(self) -> str:
        return self.custom_name

    def to_json(self) -> dict[str, Any]:
        return {"name": self.custom_name, **self.options}

    def __hash__(self) -> int:
        return hash((self.custom_name, tuple(sorted(self.options))))


def _check_filter(resize: Resize | RandomResizedCrop) -> None:
    resize._set(
        antialias=checks.boolean(resize._where("antialias"), resize.antialias),
        interpolation=checks.one_of(resize._where("interpolation"), resize.interpolation, INTERPOLATIONS),
    )


BUILT_IN: dict[str, type[Transform]] = {
    transform.__name__: transform
    for transform in (
        Resize,
        CenterCrop,
        RandomCrop,
        RandomResizedCrop,
        RandomFlip,
        RandomRotation,
        ColorJitter,
        Grayscale,
        Normalize,
    )
}


def transform_from_json(data: Any) -> Transform:
    """The transform that JSON data names; a name that is not built in gives a `Custom`, which the server looks up.

    Raises ValueError naming the transform, the field, what was found and what was expected.
    """
    if isinstance(data, Transform):
        return data
    if not isinstance(data, Mapping) or not isinstance(data.get("name"), str):
        raise ValueError(
            f'a transform must be an object like {{"name": "Resize", "size": 224}}, found {checks.found(data)}'
        )
    name = data["name"]
    options = {key: value for key, value in data.items() if key != "name"}
    kind = BUILT_IN.get(name)
    if kind is None:
        return Custom(name, **options)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = [key for key in options if key not in fields]
    if unknown:
        raise ValueError(f"{name} has no field {checks.found(unknown[0])}; its fields are {', '.join(fields)}")
    missing = [key for key, field in fields.items() if field.default is dataclasses.MISSING and key not in options]
    if missing:
        raise ValueError(f"{name} needs the field {missing[0]!r}")
    return kind(**options)
