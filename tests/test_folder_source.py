"""A folder of image files as a source: layouts, what is left out, the order, and reading."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from headrace_server.errors import (
    ConfigurationError,
    SampleChanged,
    SampleError,
    SampleUnavailable,
    SampleVanished,
    UnknownSplit,
)
from headrace_server.sources.base import Source, content_digests, find_split
from headrace_server.sources.folder import FolderSource, open_folder
from headrace_server.sources.saved import SavedIndexes

NOBODY = 65534


def make(root: Path, paths: Iterable[str | bytes]) -> Path:
    """Write files at `paths` under `root`; each holds its own path."""
    for path in paths:
        place = os.path.join(os.fsencode(root), os.fsencode(path))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        Path(os.fsdecode(place)).write_bytes(os.fsencode(path))
    return root


def keys(source: FolderSource, split: str = "all") -> list[bytes]:
    index = source.splits[split]
    return index.keys(range(len(index)))


def labels(source: FolderSource, split: str = "all") -> list[int]:
    index = source.splits[split]
    return [int(label) for label in index.labels(np.arange(len(index)))]


# Layouts


def test_class_folders_make_one_labelled_split(tmp_path: Path) -> None:
    source = open_folder(make(tmp_path, ["dog/1.png", "cat/2.png", "cat/1.png"]))
    assert list(source.splits) == ["all"]
    assert source.splits["all"].classes == ("cat", "dog")
    assert keys(source) == [b"cat/1.png", b"cat/2.png", b"dog/1.png"]
    assert labels(source) == [0, 0, 1]
    assert source.skipped == {}


def test_classes_are_paths_of_folders_nested_at_any_depth(tmp_path: Path) -> None:
    source = open_folder(make(tmp_path, ["animals/cat/1.png", "animals/2.png", "plants/a/b/c/d/3.png", "x/4.png"]))
    assert source.splits["all"].classes == ("animals", "animals/cat", "plants/a/b/c/d", "x")
    assert labels(source) == [0, 1, 2, 3]


def test_folders_are_sorted_by_their_parts_and_not_as_strings(tmp_path: Path) -> None:
    """As strings, "a-b/1.png" would come between "a/..." and "a0"."""
    source = open_folder(make(tmp_path, ["a0/1.png", "a-b/1.png", "a/z/1.png", "a/1.png"]))
    assert keys(source) == [b"a/1.png", b"a/z/1.png", b"a-b/1.png", b"a0/1.png"]
    assert labels(source) == [0, 1, 2, 3]


def test_split_folders_share_one_class_list(tmp_path: Path) -> None:
    source = open_folder(make(tmp_path, ["train/dog/1.png", "train/cat/2.png", "test/eel/3.png", "test/dog/4.png"]))
    assert list(source.splits) == ["test", "train"]
    assert source.splits["train"].classes == source.splits["test"].classes == ("cat", "dog", "eel")
    assert keys(source, "test") == [b"test/dog/4.png", b"test/eel/3.png"]
    assert labels(source, "test") == [1, 2]
    assert labels(source, "train") == [0, 1]


def test_a_split_may_be_flat_and_unlabelled_beside_labelled_ones(tmp_path: Path) -> None:
    source = open_folder(make(tmp_path, ["Train/cat/1.png", "validation/cat/2.png", "test/3.png"]))
    assert list(source.splits) == ["Train", "test", "validation"]
    assert source.splits["test"].classes is None
    assert keys(source, "test") == [b"test/3.png"]
    assert source.splits["Train"].classes == ("cat",)


def test_one_top_folder_of_another_name_makes_all_of_them_classes(tmp_path: Path) -> None:
    source = open_folder(make(tmp_path, ["train/1.png", "test/2.png", "boat/3.png"]))
    assert source.splits["all"].classes == ("boat", "test", "train")


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["train/1.png", "test/2.png", "extra/deep/3.png"], ["splits: test, train;", "beside them: extra;"]),
        (["Val/1.png", *(f"{letter}/1.png" for letter in "abcde")], ["splits: Val;", "a, b, c and 2 more"]),
        (["train/1.png", "val/2.png", "validation/3.png"], []),
        (["cat/1.png", "dog/train/2.png"], []),
    ],
)
def test_folders_named_like_splits_that_are_classes_are_warned_of(
    tmp_path: Path, paths: list[str], said: list[str]
) -> None:
    saved = SavedIndexes(tmp_path / "indexes")
    make(tmp_path / "data", paths)
    for _ in range(2):  # scanned, and from the kept index
        with capture_logs() as logs:
            open_folder(tmp_path / "data", saved=saved)
        warnings = [entry["event"] for entry in logs if entry["log_level"] == "warning"]
        assert len(warnings) == bool(said)
        assert all(words in warnings[0] for words in said)


def test_a_folder_without_images_does_not_hide_the_splits(tmp_path: Path) -> None:
    source = open_folder(make(tmp_path, ["train/1.png", "test/2.png", "notes/deep/readme.txt", "val/empty.txt"]))
    assert list(source.splits) == ["test", "train"]
    assert source.skipped == {"not an image": 2}


def test_a_flat_folder_is_one_unlabelled_split(tmp_path: Path) -> None:
    source = open_folder(make(tmp_path, ["2.png", "1.png", "10.png"]))
    assert keys(source) == [b"1.png", b"10.png", b"2.png"]
    assert source.splits["all"].classes is None


def test_one_image_is_enough(tmp_path: Path) -> None:
    source = open_folder(make(tmp_path, ["1.png"]))
    assert len(source.splits["all"]) == 1
    assert source.read("all", 0) == b"1.png"


def test_images_beside_class_folders_and_split_folders_are_left_out_and_counted(tmp_path: Path) -> None:
    classes = open_folder(make(tmp_path / "a", ["cat/1.png", "loose.png", "other.png"]))
    assert keys(classes) == [b"cat/1.png"]
    assert classes.skipped == {"image beside class folders": 2}
    splits = open_folder(make(tmp_path / "b", ["loose.png", "train/loose.png", "train/cat/1.png", "test/1.png"]))
    assert keys(splits, "train") == [b"train/cat/1.png"]
    assert keys(splits, "test") == [b"test/1.png"]
    assert splits.skipped == {"image beside split folders": 1, "image beside class folders": 1}


def test_a_dataset_is_named_after_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path / "flowers", ["1.png"])
    assert open_folder(root).name == "flowers"
    assert open_folder(f"{root}/").name == "flowers"
    assert open_folder(root, name="roses").name == "roses"
    monkeypatch.chdir(root)
    assert open_folder(".").name == "flowers"


# What is left out


@pytest.mark.parametrize(
    "extension",
    ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "gif", "tif", "tiff", "JPG", "Jpeg", "TIFF"],
)
def test_files_with_these_extensions_are_images(tmp_path: Path, extension: str) -> None:
    assert keys(open_folder(make(tmp_path, [f"a.b.{extension}"]))) == [f"a.b.{extension}".encode()]


def test_other_and_hidden_things_are_left_out_and_counted(tmp_path: Path) -> None:
    paths = ["1.png", "png", "2.png.txt", "readme", ".3.png", ".cache/4.png", ".cache/5.png", "d/.6.png", "d/7.txt"]
    source = open_folder(make(tmp_path, paths))
    assert keys(source) == [b"1.png"]
    assert source.skipped == {"hidden": 3, "not an image": 4}


def test_things_that_are_not_files_are_never_opened(tmp_path: Path) -> None:
    """Opening the pipe would never return."""
    make(tmp_path, ["cat/1.png"])
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    with socket.socket(socket.AF_UNIX) as plug:
        directory = os.open(tmp_path / "cat", os.O_RDONLY)
        # By way of the descriptor, because a socket's path is limited to 108 bytes.
        plug.bind(f"/proc/self/fd/{directory}/plug.jpg")
        os.close(directory)
        source = open_folder(tmp_path)
    assert keys(source) == [b"cat/1.png"]
    assert source.skipped == {"not a regular file": 2}


def test_a_folder_named_like_an_image_is_a_folder(tmp_path: Path) -> None:
    assert open_folder(make(tmp_path, ["cat.png/1.png"])).splits["all"].classes == ("cat.png",)


def test_empty_images_stay_in_the_index(tmp_path: Path) -> None:
    (tmp_path / "1.png").touch()
    source = open_folder(tmp_path)
    assert source.splits["all"].sizes.tolist() == [0]
    assert source.read("all", 0) == b""


# Links


def test_links_that_stay_inside_are_followed(tmp_path: Path) -> None:
    make(tmp_path, ["cat/1.png", "dog/2.png"])
    (tmp_path / "cat" / "9.png").symlink_to("../dog/2.png")
    (tmp_path / "hound").symlink_to(tmp_path / "dog")
    source = open_folder(tmp_path)
    assert keys(source) == [b"cat/1.png", b"cat/9.png", b"dog/2.png", b"hound/2.png"]
    assert [source.read("all", i) for i in range(4)] == [b"cat/1.png", b"dog/2.png", b"dog/2.png", b"dog/2.png"]
    assert source.skipped == {}


def test_links_that_lead_out_are_left_out_and_counted(tmp_path: Path) -> None:
    make(tmp_path, ["data/cat/1.png", "data2/secret.png"])
    (tmp_path / "data" / "cat" / "2.png").symlink_to(tmp_path / "data2" / "secret.png")
    (tmp_path / "data" / "dog").symlink_to(tmp_path / "data2")
    (tmp_path / "data" / "hop").symlink_to(tmp_path / "data" / "dog")
    source = open_folder(tmp_path / "data")
    assert keys(source) == [b"cat/1.png"]
    assert source.skipped == {"link out of the folder": 3}


def test_broken_links_are_counted(tmp_path: Path) -> None:
    make(tmp_path, ["1.png"])
    (tmp_path / "2.png").symlink_to("nowhere.png")
    (tmp_path / "3.png").symlink_to("3.png")
    (tmp_path / "4.png").symlink_to("1.png/below.png")
    source = open_folder(tmp_path)
    assert keys(source) == [b"1.png"]
    assert source.skipped == {"broken link": 3}


@pytest.mark.timeout(20)
def test_links_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    make(tmp_path, ["cat/1.png", "dog/2.png"])
    (tmp_path / "cat" / "root").symlink_to(tmp_path)
    (tmp_path / "cat" / "self").symlink_to(".")
    (tmp_path / "cat" / "dogs").symlink_to("../dog")
    (tmp_path / "dog" / "cats").symlink_to("../cat")
    source = open_folder(tmp_path)
    assert keys(source) == [b"cat/1.png", b"cat/dogs/2.png", b"dog/2.png", b"dog/cats/1.png"]
    assert set(source.skipped) == {"link to a folder above itself"}


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    make(tmp_path / "real", ["cat/1.png"])
    (tmp_path / "pets").symlink_to("real")
    source = open_folder(tmp_path / "pets")
    assert source.name == "pets"
    assert keys(source) == [b"cat/1.png"]


# Names and order


def test_names_may_be_unicode_or_no_utf8_at_all(tmp_path: Path) -> None:
    source = open_folder(make(tmp_path, ["kätzchen/ein bild.png", b"caf\xe9/\xff.png", "猫/1.png"]))
    assert keys(source) == [b"caf\xe9/\xff.png", "kätzchen/ein bild.png".encode(), "猫/1.png".encode()]
    assert source.splits["all"].classes == ("caf\\xe9", "kätzchen", "猫")
    assert source.read("all", 0) == b"caf\xe9/\xff.png"


def test_two_classes_that_would_be_written_alike_are_refused(tmp_path: Path) -> None:
    make(tmp_path, [b"caf\xe9/1.png", "caf\\xe9/1.png"])
    with pytest.raises(ConfigurationError, match="written caf"):
        open_folder(tmp_path)


def test_the_order_does_not_depend_on_the_order_of_creation_or_on_threads(tmp_path: Path) -> None:
    paths = [f"c{d % 7}/s{d % 3}/{d}.png" for d in range(300)]
    shuffled = random.Random(0).sample(paths, len(paths))
    one = open_folder(make(tmp_path / "one", paths), threads=1)
    two = open_folder(make(tmp_path / "two", shuffled), threads=8)
    assert keys(one) == keys(two) == sorted(path.encode() for path in paths)
    assert one.fingerprint == two.fingerprint


def test_a_large_directory_is_shared_out_and_put_together_again(tmp_path: Path) -> None:
    """More entries than one task examines, so that several threads list one directory."""
    (tmp_path / "cat").mkdir()
    for i in range(5000):
        os.close(os.open(tmp_path / "cat" / f"{i}.png", os.O_CREAT | os.O_WRONLY))
    os.truncate(tmp_path / "cat" / "4321.png", 7)
    seen: list[int] = []
    source = open_folder(tmp_path, progress=seen.append)
    assert keys(source) == sorted(b"cat/%d.png" % i for i in range(5000))
    assert keys(source)[int(np.argmax(source.splits["all"].sizes))] == b"cat/4321.png"
    assert seen == sorted(seen)
    assert seen[-1] == 5000
    assert len(seen) > 1


# Fingerprint


PETS = ["cat/1.png", "cat/2.png", "dog/3.png"]


def test_two_copies_in_different_places_have_the_same_fingerprint(tmp_path: Path) -> None:
    one = make(tmp_path / "one", PETS)
    two = make(tmp_path / "elsewhere" / "two", reversed(PETS))
    os.utime(two / "cat" / "1.png", ns=(1, 1))
    a, b = open_folder(one), open_folder(two)
    assert a.splits["all"].mtimes_ns.tolist() != b.splits["all"].mtimes_ns.tolist()
    assert a.fingerprint == b.fingerprint
    assert open_folder(one, content=True).fingerprint == open_folder(two, content=True).fingerprint


def test_a_changed_size_name_or_class_changes_the_fingerprint(tmp_path: Path) -> None:
    root = make(tmp_path, PETS)
    marks = [open_folder(root).fingerprint]
    (root / "cat" / "1.png").write_bytes(b"longer than it was")
    marks.append(open_folder(root).fingerprint)
    (root / "cat" / "1.png").rename(root / "cat" / "7.png")
    marks.append(open_folder(root).fingerprint)
    (root / "dog").rename(root / "wolf")
    marks.append(open_folder(root).fingerprint)
    assert len(set(marks)) == 4


def test_only_the_fingerprint_of_contents_sees_bytes_of_the_same_number(tmp_path: Path) -> None:
    root = make(tmp_path, [f"{i:03}.png" for i in range(150)])
    plain, content = open_folder(root).fingerprint, open_folder(root, content=True).fingerprint
    (root / "149.png").write_bytes(b"xyz.png")
    hashed: list[int] = []
    assert open_folder(root).fingerprint == plain
    assert open_folder(root, content=True, hash_progress=hashed.append).fingerprint != content
    assert hashed[-1] == 150


def test_every_sample_has_the_digest_of_its_own_bytes(tmp_path: Path) -> None:
    """More samples than one task digests, and no whole number of tasks."""
    source = open_folder(make(tmp_path, [f"{i:03}.png" for i in range(150)]))
    expected = [hashlib.blake2b(f"{i:03}.png".encode(), digest_size=16).digest() for i in range(150)]
    assert [row.tobytes() for row in content_digests(source, "all", threads=3)] == expected


# Reading


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    data = random.Random(0).randbytes(3_000_000)
    make(tmp_path, ["train/cat/1.png"])
    (tmp_path / "train" / "cat" / "1.png").write_bytes(data)
    source: Source = open_folder(tmp_path)
    assert source.read("train", 0) == data


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    source = open_folder(make(tmp_path / "pets", PETS))
    (tmp_path / "pets" / "cat" / "2.png").unlink()
    shutil.rmtree(tmp_path / "pets" / "dog")
    (tmp_path / "pets" / "dog").touch()
    with pytest.raises(SampleVanished, match=r"^pets \(all\): cat/2\.png: read: the file is gone") as caught:
        source.read("all", 1)
    error = caught.value
    assert (error.dataset, error.split, error.key, error.stage) == ("pets", "all", "cat/2.png", "read")
    assert isinstance(error, SampleUnavailable)
    assert isinstance(error.__cause__, FileNotFoundError)
    with pytest.raises(SampleVanished, match=r"dog/3\.png"):
        source.read("all", 2)


@pytest.mark.parametrize("content", [b"longer than before", b"", b"same size"], ids=["longer", "empty", "as long"])
def test_a_file_that_changed_is_refused_with_what_was_found_and_expected(tmp_path: Path, content: bytes) -> None:
    source = open_folder(make(tmp_path, ["cat/1.png"]))
    indexed = int(source.splits["all"].mtimes_ns[0])
    (tmp_path / "cat" / "1.png").write_bytes(content)
    os.utime(tmp_path / "cat" / "1.png", ns=(5, 5))
    expected = rf"found {len(content)} bytes, modified at 5 ns; expected 9 bytes, modified at {indexed} ns"
    with pytest.raises(SampleChanged, match=expected):
        source.read("all", 0)


def test_another_size_alone_is_a_change(tmp_path: Path) -> None:
    source = open_folder(make(tmp_path, ["1.png"]))
    indexed = int(source.splits["all"].mtimes_ns[0])
    for size in (4, 6):
        os.truncate(tmp_path / "1.png", size)
        os.utime(tmp_path / "1.png", ns=(indexed, indexed))
        with pytest.raises(SampleChanged, match=f"found {size} bytes"):
            source.read("all", 0)


@pytest.mark.timeout(20)
def test_a_pipe_in_a_files_place_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    source = open_folder(make(tmp_path, ["1.png"]))
    (tmp_path / "1.png").unlink()
    os.mkfifo(tmp_path / "1.png")
    with pytest.raises(SampleUnavailable):
        source.read("all", 0)


def test_a_read_that_the_system_refuses_is_unavailable_and_says_why(tmp_path: Path) -> None:
    source = open_folder(make(tmp_path, ["1.png"]))
    (tmp_path / "1.png").unlink()
    (tmp_path / "1.png").mkdir()
    with pytest.raises(SampleUnavailable, match=r"Is a directory; expected 5 bytes") as caught:
        source.read("all", 0)
    assert not isinstance(caught.value, (SampleVanished, SampleChanged))
    assert isinstance(caught.value.__cause__, IsADirectoryError)


def test_the_fingerprint_of_contents_names_the_sample_that_changed_meanwhile(tmp_path: Path) -> None:
    make(tmp_path, ["1.png", "2.png"])

    def change(count: int) -> None:
        (tmp_path / "2.png").write_bytes(b"longer than before")

    with pytest.raises(SampleError, match=r"2\.png"):
        open_folder(tmp_path, content=True, progress=change)


# Wrong folders


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"/nowhere does not exist; expected a folder of images$"):
        open_folder(tmp_path / "nowhere")


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    make(tmp_path, ["1.png"])
    with pytest.raises(ConfigurationError, match=r"/1\.png is not a folder; expected a folder of images$"):
        open_folder(tmp_path / "1.png")
    with pytest.raises(ConfigurationError, match=r"/1\.png/below does not exist"):
        open_folder(tmp_path / "1.png" / "below")


@pytest.mark.parametrize(
    ("paths", "left_out"), [([], "nothing"), (["a/notes.txt", ".b/1.png"], "1 hidden, 1 not an image")]
)
def test_a_folder_without_images_says_what_was_looked_for(tmp_path: Path, paths: list[str], left_out: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_folder(make(tmp_path, paths))
    message = str(caught.value)
    assert str(tmp_path) in message
    assert ".jpg" in message
    assert message.endswith(f"left out: {left_out}")
    assert "\n" not in message


@pytest.fixture
def ordinary_user() -> Iterator[Path]:
    """A folder of one's own, as a user whom permissions bind: root becomes nobody while the test runs."""
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o777)
        if os.geteuid() != 0:
            yield Path(made)
            return
        os.seteuid(NOBODY)
        try:
            yield Path(made)
        finally:
            os.seteuid(0)


@pytest.mark.parametrize("mode", [0o000, 0o400], ids=["not listed", "not entered"])
def test_a_folder_that_cannot_be_read_is_named_and_not_passed_over(ordinary_user: Path, mode: int) -> None:
    root = make(ordinary_user, ["cat/1.png", "dog/2.png"])
    os.chmod(root / "dog", mode)
    try:
        with pytest.raises(ConfigurationError, match=rf"cannot read {root}/dog(/2\.png)?: Permission denied"):
            open_folder(root)
    finally:
        os.chmod(root / "dog", 0o700)


# The names of splits


@pytest.mark.parametrize(
    ("known", "name", "found"),
    [
        (["train", "val"], "train", "train"),
        (["train", "val"], "validation", "val"),
        (["train", "validation"], "val", "validation"),
        (["val", "validation"], "validation", "validation"),
        (["Train", "Validation"], "train", "Train"),
        (["Train", "Validation"], "val", "Validation"),
        (["Train", "train"], "train", "train"),
        (["all"], None, "all"),
    ],
)
def test_a_split_is_found_by_its_name_or_its_alias(known: list[str], name: str | None, found: str) -> None:
    assert find_split(known, name) == found


@pytest.mark.parametrize("name", ["dev", None])
def test_an_unknown_split_is_an_error_that_names_what_exists(name: str | None) -> None:
    with pytest.raises(UnknownSplit, match="expected one of: test, train") as caught:
        find_split(["test", "train"], name)
    assert isinstance(caught.value, LookupError)
    assert caught.value.known == ("test", "train")
