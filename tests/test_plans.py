"""Plans resolved: their ids are functions of their content, and refusals name what exists."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from harness import write_dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace_server import plans
from headrace_server.catalog import Catalog, open_dataset
from headrace_server.decode import Bounds
from headrace_server.plans import PlanStore, ResolvedPlan
from headrace_server.problems import Problem
from headrace_server.settings import DatasetSettings, Settings
from headrace_server.transforms.custom import CustomTransforms, transform

RESIZE = {"name": "Resize", "size": [8, 8]}
USUAL = Bounds()
PLAN = {"dataset": "flowers", "split": "train", "transforms": [RESIZE]}


@transform(version=1)
def first(image: Any, labels: Any, rng: Any, *, strength: int = 1) -> Any:
    return image


@transform(version=2)
def second(image: Any, labels: Any, rng: Any, *, strength: int = 1) -> Any:
    return image


def store_of(
    folder: Path,
    name: str = "flowers",
    custom: CustomTransforms | None = None,
    bounds: Bounds = USUAL,
    **options: Any,
) -> PlanStore:
    """The plans of a catalog with one dataset."""
    known = custom or CustomTransforms({})
    given = {"transforms": [RESIZE], "on_error": "replace", "replace_budget": 0.01, "fingerprint": "names", **options}
    dataset = open_dataset(name, DatasetSettings(path=folder, **given), known, lambda name, files: None)
    return PlanStore(Catalog([dataset]), known, bounds=bounds)


@pytest.fixture(scope="module")
def store(flowers: Path) -> PlanStore:
    return store_of(flowers)


def refusal(store: PlanStore, data: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        store.add(data)
    return caught.value


def id_of(store: PlanStore, **fields: Any) -> str:
    return store.add({**PLAN, **fields}).info.id


def test_what_is_refused_is_in_the_id_since_it_decides_about_what_is_replaced(flowers: Path, store: PlanStore) -> None:
    other = [USUAL, Bounds(pixels=10**6), Bounds(file_bytes=10**6), Bounds(10**6, 10**6)]
    ids = [id_of(store_of(flowers, bounds=bounds)) for bounds in other]
    assert len(set(ids)) == len(other)
    assert ids[0] == id_of(store)
    usual = Settings(data=[str(flowers)])
    assert Bounds(usual.max_pixels, usual.max_file_bytes) == USUAL


def test_a_plans_answer_says_what_its_batches_are(store: PlanStore) -> None:
    info = store.add({**PLAN, "shuffle": True}).info
    assert (info.dataset, info.split, info.samples, info.classes) == ("flowers", "train", 90, ("daisy", "rose"))
    assert [output.to_json() for output in info.outputs] == [
        {"name": "image", "dtype": "uint8", "shape": [8, 8, 3]},
        {"name": "label", "dtype": "int64", "shape": []},
        {"name": "key", "dtype": "str", "shape": []},
    ]
    assert info.plan == {**PLAN, "shuffle": True}


def test_a_split_without_labels_has_no_label_column(tmp_path: Path) -> None:
    info = store_of(write_dataset(tmp_path / "flat", {".": 2}), "flat").add({"dataset": "flat"}).info
    assert [output.name for output in info.outputs] == ["image", "key"]
    assert info.classes is None
    assert info.split == "all"


def test_what_is_left_out_and_what_is_said_to_be_the_default_are_the_same_plan(store: PlanStore) -> None:
    said = {"shuffle": False, "seed": 0, "dtype": None, "layout": "NHWC"}
    assert id_of(store) == id_of(store, **said)
    assert id_of(store) == id_of(store, transforms=None)
    assert id_of(store) == id_of(store, transforms=[{**RESIZE, "antialias": True, "interpolation": "bilinear"}])
    assert id_of(store) == store.add(dict(reversed(PLAN.items()))).info.id


@pytest.mark.parametrize(
    "change",
    [
        {"split": "val"},
        {"transforms": [{"name": "Resize", "size": [8, 9]}]},
        {"transforms": [RESIZE, {"name": "RandomFlip"}]},
        {"transforms": [{**RESIZE, "antialias": False}]},
        {"shuffle": True},
        {"seed": 1},
        {"dtype": "float32"},
        {"layout": "NCHW"},
    ],
    ids=str,
)
def test_a_plan_that_differs_in_one_field_has_another_id(change: dict[str, Any], store: PlanStore) -> None:
    assert id_of(store, **change) != id_of(store)


_TRANSFORMS = st.lists(
    st.sampled_from(
        [
            {"name": "RandomFlip", "p": 0.25},
            {"name": "RandomRotation", "degrees": 10},
            {"name": "ColorJitter", "hue": 0.1},
            {"name": "CenterCrop", "size": 6},
            {"name": "Grayscale", "channels": 3},
        ]
    ),
    max_size=3,
)


@given(
    transforms=st.none() | _TRANSFORMS.map(lambda more: [RESIZE, *more]),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
    dtype=st.sampled_from([None, "uint8", "float32", "float16"]),
    layout=st.sampled_from(["NHWC", "NCHW"]),
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_posting_the_plan_of_an_answer_gives_the_same_id(store: PlanStore, **fields: Any) -> None:
    """Whatever the server filled in, it takes back as the same plan."""
    info = store.add({**PLAN, **fields}).info
    assert store.add(dict(info.plan)).info == info


def test_an_id_is_the_same_on_a_copy_of_the_data_and_another_where_the_data_differ(
    store: PlanStore, flowers: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(flowers, copy)
    (copy / "train" / "daisy" / "00000.png").touch()
    assert id_of(store_of(copy)) == id_of(store)
    (copy / "train" / "daisy" / "00000.png").rename(copy / "train" / "daisy" / "x.png")
    assert id_of(store_of(copy)) != id_of(store)


def test_what_becomes_of_bad_images_is_part_of_an_id_and_the_clients_budget_is_not(
    store: PlanStore, flowers: Path
) -> None:
    assert id_of(store_of(flowers, on_error="raise")) != id_of(store)
    assert id_of(store_of(flowers, replace_budget=0.5)) == id_of(store)


def test_the_version_of_an_operators_transform_is_part_of_an_id(flowers: Path) -> None:
    ids = [
        id_of(
            store_of(flowers, custom=CustomTransforms.load({"own": f"{__name__}:{name}"})),
            transforms=[RESIZE, {"name": "own"}],
        )
        for name in ("first", "first", "second")
    ]
    assert ids[0] == ids[1]
    assert ids[0] != ids[2]


def test_an_operators_transform_with_an_option_at_its_default_is_the_same_plan(flowers: Path) -> None:
    store = store_of(flowers, custom=CustomTransforms.load({"own": f"{__name__}:first"}))
    plain, said, other = (
        id_of(store, transforms=[RESIZE, {"name": "own", **options}])
        for options in ({}, {"strength": 1}, {"strength": 2})
    )
    assert plain == said
    assert plain != other


@pytest.mark.parametrize(
    ("data", "status", "named"),
    [
        ({**PLAN, "dataset": "birds"}, 404, ["'birds'", "flowers"]),
        ({**PLAN, "split": "test"}, 404, ["'test'", "train", "val"]),
        ({"dataset": "flowers"}, 404, ["no split was named", "train", "val"]),
        ({**PLAN, "transforms": [{"name": "Resizing"}]}, 422, ["'Resizing'", "Resize", "CenterCrop"]),
        ({**PLAN, "transforms": [{"name": "Resize", "sizes": 8}]}, 422, ["'sizes'", "size", "antialias"]),
        ({**PLAN, "transforms": [{"name": "Resize", "size": 8}]}, 422, ["add CenterCrop(224)"]),
        ({**PLAN, "transforms": []}, 422, ["add CenterCrop(224)"]),
        ({**PLAN, "colour": True}, 422, ["'colour'", "shuffle", "layout"]),
        ({**PLAN, "subset": 1}, 422, ["'subset'", "reserved"]),
        ({**PLAN, "seed": -1}, 422, ["seed", "-1"]),
        ({**PLAN, "seed": float("nan")}, 422, ["seed", "nan"]),
        ({**PLAN, "seed": 10**300}, 422, ["seed", "9223372036854775807"]),
        ({**PLAN, "shuffle": 1}, 422, ["shuffle", "true or false"]),
        ({"split": "train"}, 422, ["'dataset'"]),
        ([], 422, ["object"]),
        (None, 422, ["object"]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_plan_that_cannot_be_served_is_refused_naming_what_exists(
    data: Any, status: int, named: list[str], store: PlanStore
) -> None:
    problem = refusal(store, data)
    assert problem.status == status
    assert all(word in problem.detail for word in named), problem.detail
    assert "\n" not in problem.detail


@pytest.mark.parametrize("name", ["validation", "Val", "VALIDATION"])
def test_a_split_is_found_by_its_other_name_and_is_the_same_plan(name: str, store: PlanStore) -> None:
    assert store.add({**PLAN, "split": name}).info == store.add({**PLAN, "split": "val"}).info


def test_a_plan_that_was_never_posted_is_unknown(store: PlanStore) -> None:
    with pytest.raises(Problem, match="POST it to /v1/plans again") as caught:
        store.get("0" * 32)
    assert (caught.value.status, caught.value.more) == (404, {"code": "unknown-plan"})


def test_the_plan_unused_for_longest_is_forgotten_and_comes_back_when_it_is_posted_again(
    flowers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "KEPT", 3)
    store = store_of(flowers)
    ids = [id_of(store, seed=seed) for seed in range(3)]
    store.get(ids[0])
    id_of(store, seed=3)
    assert isinstance(store.get(ids[0]), ResolvedPlan)
    with pytest.raises(Problem):
        store.get(ids[1])
    assert id_of(store, seed=1) == ids[1]
    assert store.get(ids[1]).info.id == ids[1]


def test_posting_a_known_plan_gives_the_same_object_so_that_its_orders_are_shared(store: PlanStore) -> None:
    assert store.add(PLAN) is store.add(PLAN)
