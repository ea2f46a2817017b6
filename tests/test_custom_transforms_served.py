"""An operator's own transforms, served: named by clients, in headrace's own words and as plain JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import Api, Frame, ServerProcess, importable, run_headrace, write_dataset

import headrace
from headrace_proto import arrays

MODULE = '''
"""The operator's transforms."""

import numpy as np

from headrace_server import transform


@transform(version="2024-1")
def speckle(image, labels, rng, *, strength=0.1):
    """Multiplies every pixel by noise."""
    noise = 1 + strength * (rng.array(image.shape) - 0.5)
    return np.clip(image * noise, 0, 255).astype(np.uint8)


@transform(version=1)
def paint_label(image, labels, rng):
    image[:] = 10 * labels["label"] + 5
    return image


@transform(version=1, output_shape=lambda height, width, channels, *, times: (times * 4, times * 4, 1))
def shrink(image, labels, rng, *, times):
    return np.full((4 * times, 4 * times, 1), image.mean(), np.uint8)


@transform(version=1)
def fail_on_dark(image, labels, rng):
    if labels["label"] == 1:
        raise ZeroDivisionError("too dark")
    return image


@transform(version=1)
def lie(image, labels, rng):
    return image[:2].astype("float32")
'''
NAMES = ("speckle", "paint_label", "shrink", "fail_on_dark", "lie")
RESIZE = {"name": "Resize", "size": [6, 8]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Configured as docs/configuration.md says: a module on PYTHONPATH, named in headrace.toml."""
    root = tmp_path_factory.mktemp("custom")
    (root / "my_transforms.py").write_text(MODULE)
    data = write_dataset(root / "digits", {"a": 7, "b": 5})
    lines = [f"data = ['{data}']", "transforms = [{name = 'Resize', size = [6, 8]}, {name = 'paint_label'}]"]
    lines += ["[custom_transforms]", *(f"{name} = 'my_transforms:{name}'" for name in NAMES)]
    (root / "headrace.toml").write_text("\n".join(lines))
    with ServerProcess("--config", root / "headrace.toml", env=importable(root)) as running:
        yield running


@pytest.fixture(scope="module")
def api(server: ServerProcess) -> Iterator[Api]:
    with Api(server) as api:
        yield api


def frames(api: Api, *transforms: dict[str, Any], count: int = 5, epoch: int = 0, **fields: Any) -> list[Frame]:
    return api.frames(api.plan("digits", transforms=[RESIZE, *transforms], **fields), count=count, epoch=epoch)


def images(frames: list[Frame]) -> np.ndarray[Any, Any]:
    """All samples of a stream, one after the other."""
    assert frames[-1][0]["kind"] == "end", frames[-1][0]
    return np.concatenate([arrays.views(header["tensors"], payload)["image"] for header, payload in frames[:-1]])


def test_a_client_names_it_as_a_custom_or_as_a_plain_dict_and_gets_the_same(server: ServerProcess, api: Api) -> None:
    client = headrace.connect(server.url)
    batches = {}
    for named in (headrace.Custom("speckle", strength=0.5), {"name": "speckle", "strength": 0.5}):
        dataset = client.dataset("digits", batch_size=12, transforms=[headrace.Resize((6, 8)), named])
        (batch,) = dataset
        batches[type(named)] = batch["image"].copy()
    raw = images(frames(api, {"name": "speckle", "strength": 0.5}))
    for batch in batches.values():
        assert np.array_equal(batch, raw)
    plain = images(frames(api)).astype(int)
    assert 0 < np.abs(raw - plain).max() <= np.ceil(0.25 * plain.max())


def test_its_draws_depend_on_seed_epoch_and_sample_and_on_nothing_else(api: Api) -> None:
    def digest(count: int, seed: int, epoch: int) -> str:
        pixels = images(frames(api, {"name": "speckle"}, count=count, seed=seed, epoch=epoch))
        return hashlib.sha256(pixels.tobytes()).hexdigest()

    assert len({digest(count, 1, 1) for count in (1, 5, 12)}) == 1
    assert len({digest(12, seed, epoch) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_an_option_at_its_default_and_one_left_out_are_the_same_plan(api: Api) -> None:
    ids = [
        api.plan("digits", transforms=[RESIZE, {"name": "speckle", **options}])["id"]
        for options in ({}, {"strength": 0.1}, {"strength": 0.2})
    ]
    assert ids[0] == ids[1]
    assert ids[0] != ids[2]


def test_it_sees_the_samples_label_and_may_be_among_a_datasets_defaults(api: Api) -> None:
    stream = api.frames(api.plan("digits"), count=12)
    columns = arrays.views(stream[0][0]["tensors"], stream[0][1])
    assert (columns["image"] == 10 * columns["label"][:, None, None, None] + 5).all()
    assert set(columns["label"].tolist()) == {0, 1}


def test_one_that_changes_the_shape_says_so_and_the_plan_knows_it(api: Api) -> None:
    plan = api.plan("digits", transforms=[RESIZE, {"name": "shrink", "times": 3}])
    assert plan["outputs"][0]["shape"] == [12, 12, 1]
    assert images(api.frames(plan, count=5)).shape == (12, 12, 12, 1)


@pytest.mark.parametrize(
    ("transform", "named"),
    [
        ({"name": "specle"}, ["'specle'", "speckle", "Resize"]),
        ({"name": "speckle", "force": 1}, ["'force'", "strength"]),
        ({"name": "shrink"}, ["needs the option 'times'"]),
        ({"name": "shrink", "times": "x"}, ["shrink", "output_shape"]),
        ({"name": "paint_label", "colour": 1}, ["'colour'", "no options"]),
    ],
    ids=str,
)
def test_a_name_or_an_option_that_is_not_there_is_refused_naming_what_is(
    transform: dict[str, Any], named: list[str], api: Api
) -> None:
    answer = api.post("/v1/plans", json={"dataset": "digits", "transforms": [RESIZE, transform]})
    assert answer.status_code == 422, answer.text
    assert all(word in answer.json()["detail"] for word in named), answer.text


def test_the_openapi_document_names_it(api: Api) -> None:
    document = api.get("/openapi.json").json()
    body = document["paths"]["/v1/plans"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    shown = [
        item["properties"]["name"]["const"] for item in body["properties"]["transforms"]["anyOf"][0]["items"]["oneOf"]
    ]
    assert set(NAMES) <= set(shown)


def test_operators_code_that_fails_ends_the_stream_in_an_error_naming_transform_and_sample(
    server: ServerProcess, api: Api
) -> None:
    """It is never replaced, and of no use to try again: it is the code that is at fault."""
    stream = frames(api, {"name": "fail_on_dark"}, count=5)
    assert [header["kind"] for header, _ in stream] == ["batch", "error"]
    error = stream[-1][0]
    assert (error["code"], error["key"], error["position"], error["retry"]) == (
        "sample-failed",
        "b/00000.png",
        7,
        False,
    )
    for word in ("fail_on_dark", "ZeroDivisionError: too dark", "digits", "b/00000.png", "transform"):
        assert word in error["message"]
    plan = api.plan("digits", transforms=[RESIZE, {"name": "fail_on_dark"}])
    answer = api.get(f"/v1/plans/{plan['id']}/epochs/0/slices/7-8")
    assert (answer.status_code, answer.json()["code"]) == (500, "sample-failed")
    assert api.get("/healthz").status_code == 200
    assert not [line for line in server.errors if "Traceback" in line]


def test_operators_code_that_does_not_keep_its_word_is_an_error_that_says_what_it_gave(api: Api) -> None:
    error = frames(api, {"name": "lie"}, count=5)[-1][0]
    assert (error["code"], error["position"]) == ("sample-failed", 0)
    assert "float32" in error["message"]
    assert "(6, 8, 3)" in error["message"]


def test_a_transform_that_cannot_be_used_keeps_the_server_from_starting_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_raising.py").write_text("raise RuntimeError('on purpose')\n")
    data = write_dataset(tmp_path / "digits", {"a": 1})
    monkeypatch.setenv("PYTHONPATH", importable(tmp_path)["PYTHONPATH"])
    ended = run_headrace("serve", data, "--port", "0", "--custom-transforms", json.dumps({"own": "my_raising:x"}))
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("headrace serve: transform 'own' (my_raising:x)")
    assert "RuntimeError: on purpose" in line
