"""Arrays served: what a folder of them may hold, how batches are made of them, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import Api, ServerProcess, frames_of, run_headrace, stream_path
from numpy.typing import NDArray

import headrace
from headrace_server.catalog import open_dataset
from headrace_server.errors import ConfigurationError, SampleChanged, SampleVanished
from headrace_server.settings import DatasetSettings
from headrace_server.sources.arrays import ArraysSource, array_folders, open_arrays
from headrace_server.sources.base import Source
from headrace_server.transforms.custom import CustomTransforms


def pictures(count: int, *shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def save(folder: Path, images: NDArray[Any], labels: NDArray[Any] | None = None, classes: Any = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "image.npy", images)
    if labels is not None:
        np.save(folder / "label.npy", labels)
    if classes is not None:
        (folder / "classes.json").write_text(json.dumps(classes))
    return folder


def opened(folder: Path, *, content: bool = False) -> ArraysSource:
    return open_arrays(folder, name="d", content=content)


def refusal(folder: Path) -> str:
    """The one line that a folder of arrays is refused with."""
    with pytest.raises(ConfigurationError) as caught:
        opened(folder)
    line = str(caught.value)
    assert "\n" not in line
    return line


COUNT = 101
IMAGES = pictures(COUNT, 12, 16, 3)
LABELS = np.arange(COUNT, dtype=np.int32) % 7


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of `ready` (train of 101 labelled, val of 5 without labels), `gray` and `wide` (5 channels)."""
    root = tmp_path_factory.mktemp("arrays")
    save(root / "ready" / "train", IMAGES, LABELS)
    save(root / "ready" / "val", pictures(5, 8, 8, 3, seed=1))
    (root / "ready" / "classes.txt").write_text("".join(f"class {i}\n" for i in range(7)))
    save(root / "gray", pictures(20, 9, 11), np.full(20, -5))
    save(root / "wide", pictures(20, 4, 4, 5))
    with ServerProcess(root / "ready", root / "gray", root / "wide") as running:
        yield running


def test_batches_hold_the_rows_that_their_keys_name_in_shuffled_order_each_once(server: ServerProcess) -> None:
    train = headrace.connect(server.url).dataset("ready", split="train", batch_size=8, shuffle=True, seed=3)
    rows: list[int] = []
    for batch in train:
        assert batch["image"].dtype == np.uint8
        numbers = [int(key.removeprefix("train/")) for key in batch["key"]]
        np.testing.assert_array_equal(batch["image"], IMAGES[numbers])
        np.testing.assert_array_equal(batch["label"], LABELS[numbers])
        rows += numbers
    assert sorted(rows) == list(range(COUNT))
    assert rows != sorted(rows)


def test_keys_are_row_numbers_padded_with_zeros(server: ServerProcess) -> None:
    with Api(server) as api:
        plan = api.plan("ready", split="train", shuffle=False)
        [(header, _), _] = api.frames(plan, start=99, count=2, stride=2)
        assert header["strings"]["key"] == ["train/0000099", "train/0000100"]
        [(header, _), _] = api.frames(api.plan("gray", shuffle=False), start=0, count=1, stride=20, stop=1)
        assert header["strings"]["key"] == ["0000000"]


def test_arrays_go_out_as_they_are_unless_transforms_are_given(server: ServerProcess) -> None:
    with Api(server) as api:
        outputs = {output["name"]: output for output in api.plan("ready", split="val")["outputs"]}
        assert outputs["image"]["shape"] == [8, 8, 3]
        assert "label" not in outputs
        assert api.plan("ready", split="train")["id"] == api.plan("ready", split="train", transforms=[])["id"]
        described = api.get("/v1/datasets/ready").json()
    assert described["transforms"] == []
    assert described["splits"] == {"train": {"samples": 101, "labels": True}, "val": {"samples": 5, "labels": False}}
    assert described["classes"] == [f"class {i}" for i in range(7)]


def test_images_without_channels_have_one_and_labels_without_names_may_be_any_integers(server: ServerProcess) -> None:
    gray = headrace.connect(server.url).dataset("gray", batch_size=20, shuffle=False)
    [batch] = list(gray)
    np.testing.assert_array_equal(batch["image"], pictures(20, 9, 11)[..., np.newaxis])
    assert batch["label"].tolist() == [-5] * 20
    assert gray.classes is None


def test_transforms_do_to_arrays_what_they_do_to_images_of_files(server: ServerProcess) -> None:
    client = headrace.connect(server.url)
    crop = [headrace.CenterCrop(6)]
    [batch] = list(client.dataset("ready", split="train", batch_size=COUNT, shuffle=False, transforms=crop))
    np.testing.assert_array_equal(batch["image"], IMAGES[:, 3:9, 5:11])
    flips = [headrace.RandomFlip()]
    [batch] = list(client.dataset("ready", split="train", batch_size=COUNT, shuffle=False, transforms=flips))
    flipped = [np.array_equal(out, image[:, ::-1]) for out, image in zip(batch["image"], IMAGES, strict=True)]
    same = [np.array_equal(out, image) for out, image in zip(batch["image"], IMAGES, strict=True)]
    assert all(a != b for a, b in zip(flipped, same, strict=True))
    assert 20 < sum(flipped) < 80


@pytest.mark.parametrize("fields", [{"layout": "NCHW"}, {"dtype": "float32"}, {"dtype": "float16", "layout": "NCHW"}])
@pytest.mark.parametrize(("dataset", "shape"), [("wide", (4, 4, 5)), ("gray", (9, 11))])
def test_another_dtype_or_layout_is_the_same_pixels(
    server: ServerProcess, dataset: str, shape: tuple[int, ...], fields: dict[str, str]
) -> None:
    expected = pictures(20, *shape).reshape(20, *shape[:2], -1)
    if fields.get("layout") == "NCHW":
        expected = expected.transpose(0, 3, 1, 2)
    with Api(server) as api:
        plan = api.plan(dataset, shuffle=False, **fields)
        (header, payload), _ = frames_of(api.get(stream_path(plan, start=0, count=20, stride=20)).content)
    tensor = header["tensors"][0]
    data = np.frombuffer(payload[tensor["offset"] :][: tensor["length"]], tensor["dtype"]).reshape(tensor["shape"])
    np.testing.assert_array_equal(data, expected)


def test_transforms_of_pixels_refuse_other_numbers_of_channels(server: ServerProcess) -> None:
    with Api(server) as api:
        answer = api.post("/v1/plans", json={"dataset": "wide", "transforms": [{"name": "CenterCrop", "size": 2}]})
    assert answer.status_code == 422
    assert "these have 5" in answer.json()["detail"]


def test_slices_and_streams_agree_byte_for_byte(server: ServerProcess) -> None:
    with Api(server) as api:
        plan = api.plan("ready", split="train")
        stream = frames_of(api.get(stream_path(plan, start=0, count=10, stride=10, epoch=4)).content)
        slices = [frames_of(api.slice(plan, a, min(a + 10, COUNT), epoch=4))[0] for a in range(0, COUNT, 10)]
    assert stream[:-1] == slices


def test_two_trainers_of_the_same_plan_with_different_batch_sizes_get_the_same_samples(server: ServerProcess) -> None:
    client = headrace.connect(server.url)
    small, large = (client.dataset("ready", split="train", batch_size=size, seed=1, tail="partial") for size in (3, 16))
    seen: tuple[list[str], list[str]] = ([], [])
    for a, b in zip(small, large, strict=False):
        seen[0].extend(a["key"])
        seen[1].extend(b["key"])
        np.testing.assert_array_equal(a["image"], IMAGES[[int(key[6:]) for key in a["key"]]])
    assert seen[1][: len(seen[0])] == seen[0][: len(seen[1])]


@pytest.mark.parametrize("change", ["replaced", "gone"])
def test_a_file_that_is_no_longer_the_one_that_was_opened_ends_the_stream(tmp_path: Path, change: str) -> None:
    save(tmp_path / "d", IMAGES)
    with ServerProcess(tmp_path / "d") as running, Api(running) as api:
        plan = api.plan("d")
        assert len(api.slice(plan, 0, 4))
        if change == "replaced":
            np.save(tmp_path / "other.npy", IMAGES[:50])
            os.replace(tmp_path / "other.npy", tmp_path / "d" / "image.npy")
        else:
            (tmp_path / "d" / "image.npy").unlink()
        [(header, _)] = api.frames(plan, start=0, count=4, stride=4)
    assert header["kind"] == "error"
    assert "image.npy" in header["message"]
    assert header["retry"] is True


def test_reading_notices_what_gathering_does(tmp_path: Path) -> None:
    source: Source = opened(save(tmp_path / "d", IMAGES))
    picture = source.read("all", 3)
    assert not isinstance(picture, bytes)
    np.testing.assert_array_equal(picture.image, IMAGES[3])
    os.utime(tmp_path / "d" / "image.npy", ns=(1, 1))
    with pytest.raises(SampleChanged, match=r"image\.npy: read: found"):
        source.read("all", 3)
    (tmp_path / "d" / "image.npy").unlink()
    with pytest.raises(SampleVanished, match="the file is gone"):
        source.read("all", 3)


def test_a_million_rows_take_no_memory_in_the_index_but_their_labels(tmp_path: Path) -> None:
    index = opened(save(tmp_path, np.zeros((1_000_000, 1, 1), np.uint8))).splits["all"]
    assert len(index) == 1_000_000
    assert index.label_column is None
    assert index.keys([0, 999_999]) == [b"0000000", b"0999999"]
    assert index.key(999_999) == b"0999999"
    assert index.mean_size == 1


def test_the_fingerprint_tells_shapes_labels_and_classes_apart_and_bytes_if_asked(tmp_path: Path) -> None:
    variants = [
        save(tmp_path / "0", IMAGES, LABELS),
        save(tmp_path / "1", IMAGES[:, :6].repeat(2, axis=2), LABELS),
        save(tmp_path / "2", IMAGES, LABELS[::-1].copy()),
        save(tmp_path / "3", IMAGES, LABELS, list("abcdefg")),
        save(tmp_path / "4", IMAGES),
        save(tmp_path / "5" / "train", IMAGES, LABELS).parent,
    ]
    assert len({opened(folder).fingerprint for folder in variants}) == len(variants)
    again = save(tmp_path / "6", IMAGES, LABELS.astype(np.int64))
    assert opened(again).fingerprint == opened(variants[0]).fingerprint
    other = save(tmp_path / "7", 255 - IMAGES, LABELS)
    assert opened(other).fingerprint == opened(variants[0]).fingerprint
    assert opened(other, content=True).fingerprint != opened(variants[0], content=True).fingerprint
    assert opened(again, content=True).fingerprint == opened(variants[0], content=True).fingerprint


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (np.zeros((3, 4, 4, 3), np.float32), r"image\.npy is float32 of shape \(3, 4, 4, 3\); expected uint8"),
        (np.zeros((3, 4), np.uint8), r"of shape \(3, 4\); expected"),
        (np.zeros((0, 4, 4), np.uint8), r"of shape \(0, 4, 4\); expected"),
        (np.asfortranarray(pictures(3, 4, 5)), "Fortran"),
    ],
)
def test_images_of_another_kind_are_refused(tmp_path: Path, images: NDArray[Any], expected: str) -> None:
    save(tmp_path, images)
    with pytest.raises(ConfigurationError, match=expected):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.zeros(4, np.int64), "int64 of shape (4,); expected integers of shape (3,)"),
        (np.zeros(3, np.float32), "float32 of shape (3,)"),
        (np.array([0, 1, 2]), "labels from 0 to 2; expected 0 to 1, as there are 2 class names"),
        (np.array([0, -1, 1]), "labels from -1 to 1"),
        (np.array([0, 2**63, 1], np.uint64), "9223372036854775808"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, labels: NDArray[Any], expected: str) -> None:
    line = refusal(save(tmp_path, pictures(3, 4, 4), labels, ["a", "b"]))
    assert "label.npy" in line
    assert expected in line


@pytest.mark.parametrize("text", ["[1]", '["a", ""]', '{"a": 0}', "[", "[]", '["a", "a"]'])
def test_classes_of_another_form_are_refused(tmp_path: Path, text: str) -> None:
    save(tmp_path, pictures(3, 4, 4), np.zeros(3, np.int64))
    (tmp_path / "classes.json").write_text(text)
    assert "classes.json" in refusal(tmp_path)


def test_two_files_of_classes_that_differ_are_refused_and_equal_ones_are_not(tmp_path: Path) -> None:
    save(tmp_path / "train", pictures(3, 4, 4), np.zeros(3, np.int64), ["a", "b"])
    save(tmp_path / "val", pictures(3, 4, 4), np.zeros(3, np.int64), ["a", "b"])
    assert opened(tmp_path).splits["train"].classes == ("a", "b")
    (tmp_path / "val" / "classes.json").write_text('["b", "a"]')
    assert "different classes" in refusal(tmp_path)


def test_a_file_that_is_cut_off_or_no_array_or_pickled_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, pictures(3, 40, 40)) / "image.npy"
    path.write_bytes(path.read_bytes()[:-1])
    assert "cut off" in refusal(tmp_path)
    path.write_bytes(b"")
    assert "cut off" in refusal(tmp_path)
    path.write_bytes(b"not an array")
    assert "no array" in refusal(tmp_path)
    np.save(path, np.array([{}], object), allow_pickle=True)
    assert "no array" in refusal(tmp_path)


def test_images_beside_split_folders_with_images_are_refused(tmp_path: Path) -> None:
    save(tmp_path, pictures(3, 4, 4))
    save(tmp_path / "train", pictures(3, 4, 4))
    with pytest.raises(ConfigurationError, match=r"so do folders in it \(train\)"):
        array_folders(tmp_path)


def test_a_folder_without_arrays_is_none_of_these(flowers: Path, tmp_path: Path) -> None:
    assert array_folders(flowers) == {}
    assert array_folders(tmp_path / "nowhere") == {}
    assert list(array_folders(save(tmp_path / "Train", pictures(3, 4, 4)).parent)) == ["Train"]


def test_default_transforms_that_do_not_fit_the_arrays_are_refused_and_those_that_do_are_taken(tmp_path: Path) -> None:
    save(tmp_path, pictures(3, 4, 4, 5))
    settings = DatasetSettings(
        path=tmp_path, transforms=[{"name": "CenterCrop", "size": 2}], on_error="raise", replace_budget=0
    )
    with pytest.raises(ConfigurationError, match=r"dataset f: its default transforms: .*have 5"):
        open_dataset("f", settings, CustomTransforms({}), lambda name, files: None)
    save(tmp_path, pictures(3, 4, 4, 3))
    dataset = open_dataset("f", settings, CustomTransforms({}), lambda name, files: None)
    assert [transform.name for transform in dataset.transforms] == ["CenterCrop"]


def test_a_server_of_arrays_that_cannot_be_served_ends_with_one_line(tmp_path: Path) -> None:
    ended = run_headrace("serve", save(tmp_path / "d", np.zeros((3, 4), np.uint8)), timeout=20)
    assert ended.returncode == 1
    assert ended.stderr.startswith("headrace serve: ")
    assert len(ended.stderr.splitlines()) == 1
