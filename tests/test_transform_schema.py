"""The transforms' fields: their normal forms, their JSON, and what each wrong value gets."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_proto import checks
from headrace_proto.transforms import (
    BUILT_IN,
    CenterCrop,
    ColorJitter,
    Custom,
    Grayscale,
    Normalize,
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    RandomRotation,
    Resize,
    Transform,
    transform_from_json,
)

SIDES = st.integers(1, checks.MAX_SIDE)
SIZES = SIDES | st.tuples(SIDES, SIDES)
FILLS = st.integers(0, 255)
FILTERS = st.sampled_from(["bilinear", "bicubic", "nearest"])


def fields_of(kind: type[Transform]) -> list[str]:
    return [field.name for field in fields(kind)]


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high)


def intervals(low: float, high: float) -> st.SearchStrategy[tuple[float, ...]]:
    return st.tuples(numbers(low, high), numbers(low, high)).map(lambda ends: tuple(sorted(ends)))


def channels(low: float) -> st.SearchStrategy[Any]:
    one = numbers(low, 1e6)
    return one | st.tuples(one) | st.tuples(one, one, one)


ANY: dict[str, st.SearchStrategy[Transform]] = {
    "Resize": st.builds(Resize, SIZES, st.booleans(), FILTERS),
    "CenterCrop": st.builds(CenterCrop, SIZES, FILLS),
    "RandomCrop": st.builds(RandomCrop, SIZES, st.integers(0, 9) | st.tuples(st.integers(0, 9), FILLS), FILLS),
    "RandomResizedCrop": st.builds(
        RandomResizedCrop, SIZES, intervals(1e-6, 1), intervals(1e-3, 1e3), st.booleans(), FILTERS
    ),
    "RandomFlip": st.builds(RandomFlip, numbers(0, 1), st.sampled_from(["horizontal", "vertical"])),
    "RandomRotation": st.builds(RandomRotation, numbers(0, 360) | intervals(-360, 360), FILLS),
    "ColorJitter": st.builds(
        ColorJitter,
        *[numbers(0, 100) | intervals(0, 100)] * 3,
        numbers(0, 0.5) | intervals(-0.5, 0.5),
    ),
    "Grayscale": st.builds(Grayscale, st.sampled_from([1, 3])),
    "Normalize": st.builds(Normalize, channels(-1e6), channels(1e-6), st.sampled_from(["float32", "float16"])),
    "blur": st.builds(Custom, st.just("blur"), radius=st.floats(-1e9, 1e9) | st.text() | st.none() | st.lists(SIDES)),
}


def test_every_built_in_transform_is_tried_here() -> None:
    assert set(ANY) - {"blur"} == set(BUILT_IN)


@given(st.one_of(*ANY.values()))
def test_a_transform_comes_back_from_json_as_it_was(transform: Transform) -> None:
    data = json.loads(json.dumps(transform.to_json()))
    assert transform_from_json(data) == transform
    assert transform_from_json(data).to_json() == transform.to_json()
    assert hash(transform_from_json(data)) == hash(transform)
    assert pickle.loads(pickle.dumps(transform)) == transform


@pytest.mark.parametrize(
    ("transform", "data"),
    [
        (Resize(224), {"size": 224}),
        (Resize((224, 192), True, "bilinear"), {"size": [224, 192]}),
        (Resize([224]), {"size": 224}),  # type: ignore[arg-type]
        (
            Resize(1, antialias=False, interpolation="nearest"),
            {"size": 1, "antialias": False, "interpolation": "nearest"},
        ),
        (CenterCrop(5, 0), {"size": 5}),
        (CenterCrop(5, 9), {"size": 5, "fill": 9}),
        (RandomCrop(5, 0, 0), {"size": 5}),
        (RandomCrop(5, (1, 2), 3), {"size": 5, "padding": [1, 2], "fill": 3}),
        (RandomResizedCrop(5, (0.08, 1), (0.75, 4 / 3)), {"size": 5}),
        (RandomResizedCrop(5, (0.5, 1)), {"size": 5, "scale": [0.5, 1.0]}),
        (RandomFlip(), {}),
        (RandomFlip(0.5, "vertical"), {"axis": "vertical"}),
        (RandomRotation(10), {"degrees": 10.0}),
        (RandomRotation((-5, 10)), {"degrees": [-5.0, 10.0]}),
        (ColorJitter(0, 0, 0, 0), {}),
        (ColorJitter(hue=(-0.1, 0.1)), {"hue": [-0.1, 0.1]}),
        (Grayscale(), {}),
        (Grayscale(3), {"channels": 3}),
        (Normalize(0, 1), {"mean": 0.0, "std": 1.0}),
        (Normalize([0.5], (1, 2, 3), "float16"), {"mean": [0.5], "std": [1.0, 2.0, 3.0], "dtype": "float16"}),  # type: ignore[arg-type]
        (Custom("blur", radius=2, mode=("a", None)), {"radius": 2, "mode": ["a", None]}),
    ],
    ids=repr,
)
def test_json_has_the_name_and_the_fields_that_are_not_at_their_default(
    transform: Transform, data: dict[str, Any]
) -> None:
    written = transform.to_json()
    assert written == {"name": transform.name, **data}
    assert [type(value) for value in written.values()] == [str, *(type(value) for value in data.values())]


@pytest.mark.parametrize(
    ("from_numpy", "from_python"),
    [
        (Resize(np.int64(224)), Resize(224)),  # type: ignore[arg-type]
        (Resize(np.array(224)), Resize(224)),  # type: ignore[arg-type]
        (Resize(np.array([224, 192])), Resize((224, 192))),  # type: ignore[arg-type]
        (Resize((np.int32(2), np.uint8(3))), Resize((2, 3))),  # type: ignore[arg-type]
        (Resize(2, antialias=np.False_), Resize(2, antialias=False)),  # type: ignore[arg-type]
        (Resize(2, interpolation=np.str_("nearest")), Resize(2, interpolation="nearest")),  # type: ignore[arg-type]
        (CenterCrop(2, np.uint8(255)), CenterCrop(2, 255)),  # type: ignore[arg-type]
        (RandomCrop(2, np.array([1, 2])), RandomCrop(2, (1, 2))),  # type: ignore[arg-type]
        (RandomCrop(2, np.array(4)), RandomCrop(2, 4)),  # type: ignore[arg-type]
        (RandomResizedCrop(2, np.array([0.5, 1])), RandomResizedCrop(2, (0.5, 1))),  # type: ignore[arg-type]
        (RandomFlip(np.float32(0.25)), RandomFlip(0.25)),  # type: ignore[arg-type]
        (RandomFlip(np.array(1)), RandomFlip(1)),  # type: ignore[arg-type]
        (RandomRotation(np.array(5.0)), RandomRotation(5)),  # type: ignore[arg-type]
        (RandomRotation(np.array([-5, 5])), RandomRotation((-5, 5))),  # type: ignore[arg-type]
        (ColorJitter(np.float16(0.5), hue=np.array([0, 0.5])), ColorJitter(0.5, hue=(0, 0.5))),  # type: ignore[arg-type]
        (Grayscale(np.int64(3)), Grayscale(3)),  # type: ignore[arg-type]
        (Normalize(np.array([1, 2, 3]), np.float64(2)), Normalize((1, 2, 3), 2)),  # type: ignore[arg-type]
        (Custom("blur", r=np.array([1, 2]), s=np.float32(2)), Custom("blur", r=[1, 2], s=2.0)),
    ],
    ids=repr,
)
def test_numpys_numbers_and_arrays_become_pythons(from_numpy: Transform, from_python: Transform) -> None:
    assert from_numpy == from_python
    assert json.dumps(from_numpy.to_json()) == json.dumps(from_python.to_json())


SIZE = "size must be a whole number from 1 to 16384, found"
ONE_OF_FILTERS = "interpolation must be one of 'bilinear', 'bicubic', 'nearest', found"
WRONG: list[tuple[str, dict[str, Any], str]] = [
    *((name, {"size": 0}, f"{SIZE} 0") for name in ("Resize", "CenterCrop", "RandomCrop", "RandomResizedCrop")),
    ("Resize", {"size": True}, f"{SIZE} True"),
    ("Resize", {"size": np.True_}, f"{SIZE} True"),
    ("Resize", {"size": 1.5}, f"{SIZE} 1.5"),
    ("Resize", {"size": "224"}, f"{SIZE} '224'"),
    ("Resize", {"size": None}, f"{SIZE} None"),
    ("Resize", {"size": int}, f"{SIZE} <class 'int'>"),
    ("Resize", {"size": 16385}, f"{SIZE} 16385"),
    ("Resize", {"size": 10**5000}, SIZE),
    ("Resize", {"size": {1, 2}}, f"{SIZE} {{1, 2}}"),
    ("Resize", {"size": []}, r"size must have 1 or 2 elements, found \[\]"),
    ("Resize", {"size": [1, 2, 3]}, r"size must have 1 or 2 elements, found \[1, 2, 3\]"),
    ("Resize", {"size": [1, False]}, f"{SIZE} False"),
    ("Resize", {"size": [1, [2]]}, rf"{SIZE} \[2\]"),
    ("Resize", {"size": np.zeros((2, 2))}, rf"{SIZE} \[0.0, 0.0\]"),
    ("Resize", {"size": 1, "antialias": 1}, "antialias must be true or false, found 1"),
    ("Resize", {"size": 1, "interpolation": "cubic"}, f"{ONE_OF_FILTERS} 'cubic'"),
    ("Resize", {"size": 1, "interpolation": ["nearest"]}, rf"{ONE_OF_FILTERS} \['nearest'\]"),
    ("CenterCrop", {"size": 1, "fill": 256}, "fill must be a whole number from 0 to 255, found 256"),
    ("RandomCrop", {"size": 1, "fill": -1}, "fill must be a whole number from 0 to 255, found -1"),
    ("RandomCrop", {"size": 1, "padding": -1}, "padding must be a whole number from 0 to 16384, found -1"),
    ("RandomCrop", {"size": 1, "padding": False}, "padding must be a whole number from 0 to 16384, found False"),
    ("RandomCrop", {"size": 1, "padding": [1]}, r"padding must have 2 elements, found \[1\]"),
    ("RandomCrop", {"size": 1, "padding": [1, 2, 3, 4]}, "padding must have 2 elements"),
    ("RandomResizedCrop", {"size": 1, "scale": 0.5}, "scale must be a list, found 0.5"),
    ("RandomResizedCrop", {"size": 1, "scale": [0, 1]}, "scale must be a finite number from 1e-06 to 1, found 0"),
    ("RandomResizedCrop", {"size": 1, "scale": [1, 0.5]}, r"scale must be \[least, greatest\], found \[1, 0.5\]"),
    ("RandomResizedCrop", {"size": 1, "ratio": [0.5, 1e4]}, "ratio must be a finite number from 0.001 to 1000, found"),
    ("RandomResizedCrop", {"size": 1, "ratio": "ab"}, "ratio must be a list, found 'ab'"),
    ("RandomResizedCrop", {"size": 1, "ratio": {"a": 1, "b": 2}}, "ratio must be a list, found {'a': 1, 'b': 2}"),
    ("RandomResizedCrop", {"size": 1, "antialias": None}, "antialias must be true or false, found None"),
    ("RandomResizedCrop", {"size": 1, "interpolation": None}, f"{ONE_OF_FILTERS} None"),
    ("RandomFlip", {"p": 1.1}, "p must be a finite number from 0 to 1, found 1.1"),
    ("RandomFlip", {"p": float("nan")}, "p must be a finite number from 0 to 1, found nan"),
    ("RandomFlip", {"p": True}, "p must be a number, found True"),
    ("RandomFlip", {"p": np.True_}, "p must be a number, found True"),
    ("RandomFlip", {"p": "0.5"}, "p must be a number, found '0.5'"),
    ("RandomFlip", {"p": None}, "p must be a number, found None"),
    ("RandomFlip", {"p": [0.5]}, r"p must be a number, found \[0.5\]"),
    ("RandomFlip", {"p": float}, "p must be a number, found <class 'float'>"),
    ("RandomFlip", {"p": 10**400}, "p must be a number, found"),
    ("RandomFlip", {"p": 1j}, "p must be a number, found 1j"),
    ("RandomFlip", {"axis": 1}, "axis must be one of 'horizontal', 'vertical', found 1"),
    ("RandomRotation", {"degrees": -1}, "degrees must be a finite number from 0 to 360, found -1"),
    ("RandomRotation", {"degrees": False}, "degrees must be a number, found False"),
    ("RandomRotation", {"degrees": float("inf")}, "degrees must be a finite number from 0 to 360, found inf"),
    ("RandomRotation", {"degrees": [-361, 0]}, "degrees must be a finite number from -360 to 360, found -361"),
    ("RandomRotation", {"degrees": [5, -5]}, r"degrees must be \[least, greatest\], found \[5, -5\]"),
    ("RandomRotation", {"degrees": 1, "fill": 0.5}, "fill must be a whole number from 0 to 255, found 0.5"),
    ("ColorJitter", {"brightness": -0.1}, "brightness must be a finite number from 0 to 100, found -0.1"),
    ("ColorJitter", {"contrast": [1]}, "contrast must have 2 elements"),
    ("ColorJitter", {"saturation": True}, "saturation must be a number, found True"),
    ("ColorJitter", {"hue": 0.6}, "hue must be a finite number from 0 to 0.5, found 0.6"),
    ("ColorJitter", {"hue": -0.1}, "hue must be a finite number from 0 to 0.5, found -0.1"),
    ("ColorJitter", {"hue": [-0.6, 0]}, "hue must be a finite number from -0.5 to 0.5, found -0.6"),
    ("Grayscale", {"channels": 2}, "channels must be one of 1, 3, found 2"),
    ("Grayscale", {"channels": True}, "channels must be one of 1, 3, found True"),
    ("Grayscale", {"channels": 3.0}, "channels must be one of 1, 3, found 3.0"),
    ("Grayscale", {"channels": np.array([1, 3])}, r"channels must be one of 1, 3, found \[1, 3\]"),
    ("Normalize", {"mean": 0, "std": 0}, r"std must be a finite number from 1e-06 to 1e\+06, found 0"),
    ("Normalize", {"mean": [0, 0], "std": 1}, r"mean must have 1 or 3 elements, found \[0, 0\]"),
    ("Normalize", {"mean": "0", "std": 1}, "mean must be a number, found '0'"),
    ("Normalize", {"mean": [0, True, 0], "std": 1}, "mean must be a number, found True"),
    ("Normalize", {"mean": 0, "std": 1, "dtype": "uint8"}, "dtype must be one of 'float32', 'float16', found 'uint8'"),
    ("Normalize", {"mean": 0, "std": 1, "dtype": None}, "dtype must be one of 'float32', 'float16', found None"),
]


@pytest.mark.parametrize(("name", "values", "message"), WRONG, ids=checks.found)
def test_a_wrong_field_gets_one_line_naming_transform_field_and_what_was_found(
    name: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{name}: {message}") as caught:
        transform_from_json({"name": name, **values})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_every_field_of_every_transform_is_tried_wrong() -> None:
    tried = {(name, message.split()[0]) for name, _, message in WRONG}
    assert tried == {(name, field) for name, kind in BUILT_IN.items() for field in fields_of(kind)}


def test_the_documentation_has_every_transform_and_field_and_no_others() -> None:
    page = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text()
    documented: dict[str, list[str]] = {}
    table = page.partition("\n### Transforms\n")[2].partition("\n### Streams\n")[0]
    for name, names in re.findall(r"^\| (?:`(\w+)`)? ?\| (`[^|]*`) \|", table, re.MULTILINE):
        documented.setdefault(name or list(documented)[-1], []).extend(re.findall(r"\w+", names))
    assert documented == {name: fields_of(kind) for name, kind in BUILT_IN.items()}


@pytest.mark.parametrize("data", [None, 5, "Resize", ["Resize"], {}, {"size": 5}, {"name": 5}, {"name": None}])
def test_what_names_no_transform_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match=r'a transform must be an object like {"name": "Resize", "size": 224}, found'):
        transform_from_json(data)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_field_that_a_transform_does_not_have_is_refused_with_those_that_it_has(name: str) -> None:
    names = ", ".join(fields_of(BUILT_IN[name]))
    with pytest.raises(ValueError, match=f"{name} has no field 'colour'; its fields are {names}$"):
        transform_from_json({"name": name, "colour": 1})


@pytest.mark.parametrize(
    ("name", "field"),
    [("Resize", "size"), ("CenterCrop", "size"), ("RandomRotation", "degrees"), ("Normalize", "mean")],
)
def test_a_field_that_is_needed_is_named(name: str, field: str) -> None:
    with pytest.raises(ValueError, match=f"{name} needs the field '{field}'"):
        transform_from_json({"name": name})


def test_a_name_that_is_not_built_in_is_the_operators() -> None:
    transform = transform_from_json({"name": "blur", "radius": 2})
    assert transform == Custom("blur", radius=2)
    assert transform.name == "blur"
    assert transform != Custom("blur", radius=3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("", {}, "Custom: name must be a non-empty string, found ''"),
        ("Resize", {"size": 1}, r"Resize is built in: use headrace.Resize, not Custom\('Resize'\)"),
        ("blur", {"name": "Resize"}, "'blur': no option can be called 'name'"),
        ("blur", {"x": object()}, "'blur': an option must be what JSON can hold, found <object"),
        ("blur", {"x": b"bytes"}, "'blur': an option must be what JSON can hold, found b'bytes'"),
        ("blur", {"x": float("nan")}, "'blur': an option must be a finite number"),
        ("blur", {"x": 2**63}, "'blur': an option must be a whole number"),
        ("blur", {"x": {5: 6}}, "a key in 'blur': an option must be a string, found 5"),
        ("blur", {"x": "\udcff"}, "'blur': an option must be a string of whole characters"),
    ],
)
def test_a_custom_transform_that_json_could_not_carry_is_refused(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Custom(name, **options)


def test_transforms_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Resize(5).size = 6  # type: ignore[misc]


def test_changing_what_an_option_was_made_from_changes_nothing() -> None:
    values = [1, 2]
    transform = Custom("blur", values=values)
    values.append(3)
    assert transform == Custom("blur", values=[1, 2])


def test_minus_zero_is_zero() -> None:
    assert json.dumps(RandomFlip(-0.0).to_json()) == json.dumps(RandomFlip(0).to_json())


@given(st.binary() | st.text() | st.integers() | st.lists(st.text()))
def test_what_an_error_shows_is_short_and_on_one_line(value: object) -> None:
    shown = checks.found(value)
    assert len(shown) <= 80
    assert len(shown.splitlines()) <= 1


def test_an_array_is_shown_short_and_on_one_line() -> None:
    shown = checks.found(np.zeros((30, 30)))
    assert len(shown) <= 80
    assert "\n" not in shown
