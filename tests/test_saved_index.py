"""Indexes kept from start to start: what they save, when they are not used, and what becomes of damaged ones."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from harness import Api, ServerProcess, write_dataset, write_image

from headrace_server.index import Index, Strings
from headrace_server.sources.folder import FolderSource, open_folder
from headrace_server.sources.rescan import Rescan
from headrace_server.sources.saved import SavedIndexes, Snapshot
from headrace_server.sources.scan import UNSETTLED, scan

COUNTS = {"train/cat": 5, "train/dog": 4, "val/cat": 2}


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Eleven pictures and a text, in folders that have not changed for an hour."""
    root = write_dataset(tmp_path / "pets", COUNTS)
    (root / "train" / "cat" / "notes.txt").write_text("x")
    return settle(root)


def settle(root: Path) -> Path:
    """As if nothing in the folders had changed for an hour."""
    hour_ago = time.time_ns() - 3600 * 10**9
    for directory in (root, *(path for path in root.rglob("*") if path.is_dir())):
        os.utime(directory, ns=(hour_ago, hour_ago))
    return root


def opened(
    root: Path, index_dir: Path, rescan: Rescan = "changed", *, content: bool = False
) -> tuple[FolderSource, bool]:
    """The folder's source, and whether it was scanned."""
    scanned: list[int] = []
    source = open_folder(root, content=content, progress=scanned.append, saved=SavedIndexes(index_dir, rescan))
    return source, bool(scanned)


def json_of(index_dir: Path) -> Path:
    [path] = index_dir.glob("*.json")
    return path


def assert_same(one: FolderSource, two: FolderSource) -> None:
    assert (one.name, one.root, one.fingerprint, one.skipped) == (two.name, two.root, two.fingerprint, two.skipped)
    assert list(one.splits) == list(two.splits)
    for split, index in one.splits.items():
        other = two.splits[split]
        assert index.classes == other.classes
        assert index.mean_size == other.mean_size
        for name, column in index.columns().items():
            np.testing.assert_array_equal(column, other.columns()[name])


@pytest.mark.parametrize("content", [False, True])
def test_a_later_start_takes_the_saved_index_which_is_the_same_and_mapped(
    pets: Path, tmp_path: Path, content: bool
) -> None:
    first, scanned = opened(pets, tmp_path / "kept", content=content)
    assert scanned
    second, scanned = opened(pets, tmp_path / "kept", content=content)
    assert not scanned
    assert_same(first, second)
    assert isinstance(second.splits["train"].sizes.base, np.memmap)
    assert second.read("train", 3) == first.read("train", 3)


def test_an_index_with_names_that_are_not_utf8_comes_back(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / os.fsdecode(b"p\xff"), {"cat": 3})
    (root / "cat" / "00000.png").rename(root / "cat" / os.fsdecode(b"\xfe.png"))
    (root / "cat").rename(root / os.fsdecode(b"c\xe9"))
    settle(root)
    first, _ = opened(root, tmp_path / "kept")
    second, scanned = opened(root, tmp_path / "kept")
    assert not scanned
    assert_same(first, second)


def add(root: Path) -> None:
    write_image(root / "train" / "dog" / "new.png", 77)


def remove(root: Path) -> None:
    (root / "val" / "cat" / "00001.png").unlink()


def rename(root: Path) -> None:
    (root / "train" / "dog" / "00001.png").rename(root / "train" / "dog" / "other.png")


def add_class(root: Path) -> None:
    write_image(root / "train" / "eel" / "1.png", 78)


def remove_class(root: Path) -> None:
    shutil.rmtree(root / "val" / "cat")
    write_image(root / "val" / "dog" / "1.png", 79)


@pytest.mark.parametrize("change", [add, remove, rename, add_class, remove_class])
def test_what_was_added_removed_or_renamed_is_found(pets: Path, tmp_path: Path, change: Callable[[Path], None]) -> None:
    opened(pets, tmp_path / "kept")
    change(pets)
    found, scanned = opened(pets, tmp_path / "kept")
    assert scanned
    assert_same(found, open_folder(pets))


def test_never_takes_it_whatever_changed_and_always_scans_and_saves_anew(pets: Path, tmp_path: Path) -> None:
    opened(pets, tmp_path / "kept")
    add(pets)
    old, scanned = opened(pets, tmp_path / "kept", "never")
    assert not scanned
    assert len(old.splits["train"]) == 9
    new, scanned = opened(pets, tmp_path / "kept", "always")
    assert scanned
    assert len(new.splits["train"]) == 10
    again, scanned = opened(pets, tmp_path / "kept", "never")
    assert not scanned
    assert_same(new, again)


def test_a_folder_that_changed_just_before_its_scan_is_scanned_again(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", {"a": 1})
    ahead = time.time_ns() + 10**9  # so that it is recent however slow this machine is
    os.utime(root / "a", ns=(ahead, ahead))
    assert scan(os.fsencode(root.resolve())).directories[os.fsencode((root / "a").resolve())] == UNSETTLED
    opened(root, tmp_path / "kept")
    assert opened(root, tmp_path / "kept")[1]
    settle(root)
    assert opened(root, tmp_path / "kept")[1]
    assert not opened(root, tmp_path / "kept")[1]


def test_a_file_that_changed_in_place_is_an_error_of_its_sample_until_it_is_scanned(pets: Path, tmp_path: Path) -> None:
    opened(pets, tmp_path / "kept")
    path = pets / "train" / "cat" / "00000.png"
    path.write_bytes(path.read_bytes() + b"more")
    old, scanned = opened(pets, tmp_path / "kept")
    assert not scanned
    with pytest.raises(Exception, match="as it was indexed"):
        old.read("train", 0)
    new, _ = opened(pets, tmp_path / "kept", "always")
    assert new.read("train", 0) == path.read_bytes()


def test_the_other_kind_of_fingerprint_is_taken_anew(pets: Path, tmp_path: Path) -> None:
    names, _ = opened(pets, tmp_path / "kept")
    content, scanned = opened(pets, tmp_path / "kept", content=True)
    assert scanned
    assert content.fingerprint != names.fingerprint


def test_two_folders_of_the_same_name_have_indexes_of_their_own_and_old_columns_are_removed(tmp_path: Path) -> None:
    roots = [settle(write_dataset(tmp_path / where / "pets", {"cat": count})) for where, count in (("a", 2), ("b", 3))]
    for rescan in ("changed", "always"):
        for root in roots:
            opened(root, tmp_path / "kept", rescan)  # type: ignore[arg-type]
    for root, count in zip(roots, (2, 3), strict=True):
        source, scanned = opened(root, tmp_path / "kept")
        assert not scanned
        assert len(source.splits["all"]) == count
    entries = list((tmp_path / "kept").iterdir())
    assert sorted(path.is_dir() for path in entries) == [False, False, True, True]


def cut_column(index_dir: Path) -> None:
    [path] = index_dir.glob("*/train.sizes.npy")
    path.write_bytes(path.read_bytes()[:-3])


def drop_column(index_dir: Path) -> None:
    [path] = index_dir.glob("*/train.name_blob.npy")
    path.unlink()


def shorten_column(index_dir: Path) -> None:
    [path] = index_dir.glob("*/train.name_blob.npy")
    np.save(path, np.load(path)[:-1])


def other_rows(index_dir: Path) -> None:
    for path in index_dir.glob("*/val.*.npy"):
        shutil.copy(path, path.with_name(path.name.replace("val.", "train.")))


def drop_columns(index_dir: Path) -> None:
    [path] = (path for path in index_dir.iterdir() if path.is_dir())
    shutil.rmtree(path)


def edited(**changes: object) -> Callable[[Path], None]:
    def edit(index_dir: Path) -> None:
        path = json_of(index_dir)
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


def written(text: str) -> Callable[[Path], None]:
    return lambda index_dir: json_of(index_dir).write_text(text) and None


DAMAGES = [cut_column, drop_column, shorten_column, other_rows, drop_columns]
DAMAGES += [written(text) for text in ("", "{", "[]", "1", '{"format": "headrace-index"}', "[" * 100_000, "\xe9")]
DAMAGES += [edited(format="other"), edited(root="/elsewhere"), edited(splits=[]), edited(splits={}), edited(skipped=3)]
DAMAGES += [edited(fingerprint=None), edited(columns=5), edited(columns="../../nowhere"), edited(version=2)]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_index_is_scanned_again_and_mended(
    pets: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    first, _ = opened(pets, tmp_path / "kept")
    damage(tmp_path / "kept")
    for rescan in ("never", "changed"):
        again, scanned = opened(pets, tmp_path / "kept", rescan)  # type: ignore[arg-type]
        assert scanned is (rescan == "never")  # the first scan mended it
        assert_same(first, again)


def test_a_server_says_that_an_index_is_damaged_and_serves(pets: Path, tmp_path: Path) -> None:
    arguments = [pets, "--index-dir", tmp_path / "kept", "--transforms", '[{"name": "Resize", "size": [8, 8]}]']
    with ServerProcess(*arguments) as server, Api(server) as api:
        first = api.plan("pets", split="train")
    cut_column(tmp_path / "kept")
    with ServerProcess(*arguments) as server, Api(server) as api:
        second = api.plan("pets", split="train")
        assert [header["kind"] for header, _ in api.frames(second, start=0, count=9, stride=9)] == ["batch", "end"]
    [said] = [line for line in server.errors if "damaged" in line]
    assert json.loads(said)["reason"].startswith("ValueError")
    with ServerProcess(*arguments) as server, Api(server) as api:
        third = api.plan("pets", split="train")
    assert any("is used" in line for line in server.errors)
    assert first["id"] == second["id"] == third["id"]


def test_a_folder_that_cannot_be_written_is_a_message_and_the_data_is_served(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with ServerProcess(pets, "--index-dir", tmp_path / "file") as server, Api(server) as api:
        assert api.get("/readyz").status_code == 200
    assert any("could not be saved" in line for line in server.errors)


def test_a_save_that_fails_leaves_the_index_before_it_and_nothing_else(pets: Path, tmp_path: Path) -> None:
    source, _ = opened(pets, tmp_path / "kept")
    before = sorted(path.name for path in (tmp_path / "kept").iterdir())
    split = "no such folder/train"  # its columns cannot be written
    saved = SavedIndexes(tmp_path / "kept")
    saved.save(source.root, False, Snapshot({split: source.splits["train"]}, {}, "", {}))
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == before
    again, scanned = opened(pets, tmp_path / "kept")
    assert not scanned
    assert_same(source, again)


def large(count: int) -> Index:
    """An index of made-up samples in 1,000 classes, whose names have 20 bytes."""
    names = np.char.add(np.char.zfill(np.arange(count).astype("S12"), 12), b"img.jpeg").astype("S20")
    offsets = np.arange(count + 1, dtype=np.int64) * 20
    return Index(
        Strings(names.view(np.uint8), offsets),
        np.full(count, 100_000, np.int64),
        np.ones(count, np.int64),
        np.sort(np.arange(count, dtype=np.int32) % 1000),
        Strings.pack([f"class{i:04}".encode() for i in range(1000)]),
        np.arange(1000, dtype=np.int64),
        tuple(f"class{i:04}" for i in range(1000)),
    )


def test_a_saved_sample_takes_at_most_100_bytes_and_the_first_batch_reads_few_of_them(tmp_path: Path) -> None:
    root = tmp_path / "wide"
    write_image(root / "class0000" / "x.png", 0)
    settle(root)
    saved, real = SavedIndexes(tmp_path / "kept"), os.fsencode(root.resolve())
    index = large(200_000)
    snapshot = Snapshot({"all": index}, {}, "f" * 64, scan(real).directories)
    saved.save(real, False, snapshot)
    size = sum(path.stat().st_size for path in (tmp_path / "kept").rglob("*") if path.is_file())
    assert size <= 100 * len(index)
    source, scanned = opened(root, tmp_path / "kept")
    assert not scanned
    assert source.fingerprint == "f" * 64  # taken, not reckoned
    assert "mean_size" in source.splits["all"].__dict__
    assert source.splits["all"].key(199_999) == b"class0999/000000199999img.jpeg"
