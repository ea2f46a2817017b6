"""Plans and their answers: their JSON, and what each wrong field gets."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_proto import plan, transforms
from headrace_proto.checks import MAX_INTEGER
from headrace_proto.plan import Output, Plan, PlanInfo
from headrace_proto.transforms import Custom, Normalize, RandomFlip, Resize

TRANSFORMS = st.lists(
    st.sampled_from(
        [Resize(224), Resize((3, 5), antialias=False), RandomFlip(), Normalize(0.5, (1, 2, 3)), Custom("blur", r=[1])]
    ),
    max_size=3,
).map(tuple)
PLANS = st.builds(
    Plan,
    st.text(min_size=1),
    split=st.none() | st.text(min_size=1),
    transforms=st.none() | TRANSFORMS,
    shuffle=st.booleans(),
    seed=st.integers(0, MAX_INTEGER),
    dtype=st.sampled_from((None, *plan.DTYPES)),
    layout=st.sampled_from(plan.LAYOUTS),
)
INFO = PlanInfo(
    id="p1",
    engine="e1",
    dataset="flowers",
    split="train",
    samples=10,
    outputs=(Output("image", "uint8", (2, 2, 3)), Output("key", "str", ())),
    plan={"dataset": "flowers", "split": "train", "transforms": []},
    fingerprint="f1",
    classes=("daisy", "rose"),
    replace_budget=0.01,
)


@given(PLANS)
def test_a_plan_comes_back_from_json_as_it_was(value: Plan) -> None:
    assert Plan.from_json(json.loads(json.dumps(value.to_json()))) == value
    assert hash(Plan.from_json(value.to_json())) == hash(value)


def test_fields_at_their_default_are_left_out() -> None:
    assert Plan("a").to_json() == {"dataset": "a"}
    written = Plan("a", None, None, False, 0, None, "NHWC").to_json()
    assert written == {"dataset": "a"}


def test_fields_that_are_not_at_their_default_are_written() -> None:
    value = Plan("a", "train", (Resize((2, 3)),), True, 5, "float16", "NCHW")
    assert value.to_json() == {
        "dataset": "a",
        "split": "train",
        "transforms": [{"name": "Resize", "size": [2, 3]}],
        "shuffle": True,
        "seed": 5,
        "dtype": "float16",
        "layout": "NCHW",
    }


def test_no_transforms_and_the_datasets_default_are_told_apart() -> None:
    assert Plan("a", transforms=()).to_json() == {"dataset": "a", "transforms": []}
    assert Plan.from_json({"dataset": "a", "transforms": []}).transforms == ()


def test_null_means_the_default() -> None:
    assert Plan.from_json({"dataset": "a", "split": None, "transforms": None, "dtype": None}) == Plan("a")


def test_numpys_numbers_become_pythons() -> None:
    value = Plan("a", shuffle=np.True_, seed=np.uint64(7), transforms=[Resize(np.array([2, 3]))])  # type: ignore[arg-type]
    assert json.loads(json.dumps(value.to_json())) == {
        "dataset": "a",
        "transforms": [{"name": "Resize", "size": [2, 3]}],
        "shuffle": True,
        "seed": 7,
    }


def test_a_plan_survives_pickling() -> None:
    value = Plan("a", transforms=(Resize(2), Custom("blur", r=1)))
    assert pickle.loads(pickle.dumps(value)) == value


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": ""}, "dataset must be a non-empty string, found ''"),
        ({"dataset": 5}, "dataset must be a non-empty string, found 5"),
        ({"dataset": None}, "dataset must be a non-empty string, found None"),
        ({"dataset": "\ud800"}, r"dataset must be a string of whole characters, found '\\ud800'"),
        ({"split": ""}, "split must be a non-empty string, found ''"),
        ({"split": ["train"]}, r"split must be a non-empty string, found \['train'\]"),
        ({"transforms": {"name": "Resize"}}, "transforms must be a list, found {'name': 'Resize'}"),
        ({"transforms": "Resize"}, "transforms must be a list, found 'Resize'"),
        ({"transforms": ["Resize"]}, 'a transform must be an object like {"name": "Resize", "size": 224}'),
        ({"transforms": [{"name": "Resize"}]}, "Resize needs the field 'size'"),
        ({"shuffle": 1}, "shuffle must be true or false, found 1"),
        ({"shuffle": "yes"}, "shuffle must be true or false, found 'yes'"),
        ({"seed": -1}, "seed must be a whole number from 0 to 9223372036854775807, found -1"),
        ({"seed": 2**63}, "seed must be a whole number"),
        ({"seed": True}, "seed must be a whole number"),
        ({"seed": 1.0}, "seed must be a whole number"),
        ({"seed": "1"}, "seed must be a whole number"),
        ({"seed": None}, "seed must be a whole number"),
        ({"dtype": "float64"}, "dtype must be one of 'uint8', 'float32', 'float16', None, found 'float64'"),
        ({"dtype": np.dtype("uint8")}, "dtype must be one of .* found dtype"),
        ({"dtype": []}, r"dtype must be one of .* found \[\]"),
        ({"layout": "nhwc"}, "layout must be one of 'NHWC', 'NCHW', found 'nhwc'"),
        ({"layout": None}, "layout must be one of 'NHWC', 'NCHW', found None"),
        ({"subset": 0.5}, "the plan's field 'subset' is reserved for a later version"),
        ({"filter": None}, "the plan's field 'filter' is reserved for a later version"),
        ({"mix": []}, "the plan's field 'mix' is reserved for a later version"),
        ({"batch_size": 5}, "a plan has no field 'batch_size'; its fields are dataset, split, transforms, shuffle"),
        ({"x" * 10_000: 5}, "a plan has no field 'xxx"),
    ],
)
def test_a_wrong_field_gets_one_line_that_names_it(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Plan.from_json({"dataset": "a", **fields})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("data", [None, 5, "flowers", ["flowers"]])
def test_what_is_no_object_is_no_plan(data: object) -> None:
    with pytest.raises(ValueError, match=r'a plan must be an object like {"dataset": "flowers"}, found'):
        Plan.from_json(data)


def test_a_plan_needs_a_dataset() -> None:
    with pytest.raises(ValueError, match="a plan needs the field 'dataset'"):
        Plan.from_json({"split": "train"})


def test_a_transform_alone_is_no_list_of_them() -> None:
    with pytest.raises(ValueError, match=r"transforms must be a list, found Resize\(size="):
        Plan.from_json({"dataset": "flowers", "transforms": Resize(8)})


def documented() -> list[Any]:
    page = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text()
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]


def test_the_plan_in_the_documentation_is_one() -> None:
    (example,) = (block for block in documented() if "seed" in block)
    assert list(example) == list(Plan.__dataclass_fields__)
    Plan.from_json(example)


def test_the_answer_in_the_documentation_is_one() -> None:
    (example,) = (block for block in documented() if "outputs" in block)
    info = PlanInfo.from_json(example)
    assert info.to_json() == example
    assert Plan.from_json(info.plan).dataset == info.dataset


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([*Plan.__dataclass_fields__, *plan.RESERVED]) | st.text()
OPTIONS = st.dictionaries(st.sampled_from(["size", "scale", "p", "mean", "std", "padding", "hue", "fill"]), JSON)
STEPS = st.builds(
    lambda name, options: {"name": name, **options}, st.sampled_from([*transforms.BUILT_IN, "x"]), OPTIONS
)


@given(st.dictionaries(FIELDS, JSON, max_size=4), st.none() | st.lists(STEPS | JSON, max_size=2))
def test_any_json_is_a_plan_or_a_value_error_of_one_line(data: dict[str, Any], steps: list[Any] | None) -> None:
    if steps is not None:
        data = {"dataset": "a", "transforms": steps}
    try:
        value = Plan.from_json(data)
    except ValueError as error:
        shown = str(error)
    else:
        shown = ""
        assert Plan.from_json(json.loads(json.dumps(value.to_json()))) == value
    assert "\n" not in shown
    assert len(shown) < 400


def test_options_of_great_depth_are_refused() -> None:
    deep: Any = []
    for _ in range(900):
        deep = [deep]
    with pytest.raises(ValueError, match="'x': an option may be nested 16 levels deep, found more"):
        Plan.from_json({"dataset": "a", "transforms": [{"name": "x", "deep": deep}]})
    with pytest.raises(ValueError, match=r"shuffle must be true or false, found \["):
        Plan.from_json({"dataset": "a", "shuffle": deep})


def test_an_answer_comes_back_from_json_as_it_was() -> None:
    assert PlanInfo.from_json(json.loads(json.dumps(INFO.to_json()))) == INFO
    unlabelled = replace(INFO, classes=None)
    assert PlanInfo.from_json(json.loads(json.dumps(unlabelled.to_json()))) == unlabelled


def test_unknown_keys_of_an_answer_are_ignored() -> None:
    data = INFO.to_json() | {"later": 1}
    data["outputs"][0]["later"] = 1
    assert PlanInfo.from_json(data) == INFO


@pytest.mark.parametrize("key", INFO.to_json())
def test_a_key_that_an_answer_lacks_is_named(key: str) -> None:
    data = INFO.to_json()
    del data[key]
    with pytest.raises(ValueError, match=f"not a plan's answer: it has no '{key}', in {{"):
        PlanInfo.from_json(data)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("id", "", "a plan's id must be a non-empty string"),
        ("engine", None, "engine must be a non-empty string"),
        ("dataset", 1, "dataset must be a non-empty string"),
        ("split", None, "split must be a non-empty string"),
        ("samples", -1, "samples must be a whole number"),
        ("samples", "10", "samples must be a whole number"),
        ("outputs", {}, "outputs must be a list"),
        ("outputs", [5], "not a plan's answer"),
        ("outputs", [{"name": "image", "dtype": "uint8"}], "it has no 'shape'"),
        ("outputs", [{"name": "image", "dtype": "uint8", "shape": 5}], "an output's shape must be a list, found 5"),
        ("outputs", [{"name": "image", "dtype": "uint8", "shape": [-1]}], "an output's shape must be a whole number"),
        ("outputs", [{"name": "", "dtype": "uint8", "shape": []}], "an output's name must be a non-empty string"),
        ("outputs", [{"name": "image", "dtype": 5, "shape": []}], "an output's dtype must be a non-empty string"),
        ("plan", 5, "not a plan's answer"),
        ("plan", "abc", "not a plan's answer"),
        ("fingerprint", None, "fingerprint must be a non-empty string"),
        ("classes", "daisy", "classes must be a list, found 'daisy'"),
        ("classes", [1], "classes must be a string, found 1"),
        ("replace_budget", 2, "replace_budget must be a finite number from 0 to 1, found 2"),
        ("replace_budget", float("nan"), "replace_budget must be a finite number"),
    ],
)
def test_a_wrong_field_of_an_answer_is_named(key: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        PlanInfo.from_json(INFO.to_json() | {key: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [None, 5, "text", [], {}])
def test_what_is_no_answer_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match="not a plan's answer"):
        PlanInfo.from_json(data)
