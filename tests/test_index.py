"""The columnar index of a split, and the fingerprint of a dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_server.index import Index, Listing, Strings, fingerprint, text_of

NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: b"/" not in name)


def listing(path: bytes, names: list[bytes], size: int = 10, mtime_ns: int = 1) -> Listing:
    return Listing.sorted_by_name(path, names, [size] * len(names), [mtime_ns] * len(names))


def pets(size: int = 10, mtime_ns: int = 1, classes: tuple[str, ...] = ("cat", "dog")) -> Index:
    listings = [listing(b"cat", [b"2.png", b"1.png"], size, mtime_ns), listing(b"dog", [b"3.png"], size, mtime_ns)]
    return Index.from_listings(listings, [0, 1], classes)


@given(st.lists(st.binary(max_size=9)))
def test_packed_strings_come_back_as_they_were(values: list[bytes]) -> None:
    strings = Strings.pack(values)
    assert list(strings) == values
    assert len(strings) == len(values)


@given(st.lists(st.lists(st.binary(max_size=9))))
def test_concatenated_strings_are_those_of_the_parts_in_order(parts: list[list[bytes]]) -> None:
    assert list(Strings.concatenate([Strings.pack(part) for part in parts])) == [s for part in parts for s in part]


@pytest.mark.parametrize("i", [-1, 2])
def test_a_row_that_is_not_there_is_an_error_and_not_another_row(i: int) -> None:
    with pytest.raises(IndexError):
        Strings.pack([b"a", b"b"])[i]


@given(st.lists(st.tuples(NAMES, st.integers(0, 2**40), st.integers(0, 2**62)), unique_by=lambda row: row[0]))
def test_rows_are_sorted_by_name_and_stay_together(rows: list[tuple[bytes, int, int]]) -> None:
    names, sizes, mtimes = [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows]
    made = Listing.sorted_by_name(b"d", names, sizes, mtimes)
    assert list(zip(made.names, made.sizes.tolist(), made.mtimes_ns.tolist(), strict=True)) == sorted(rows)


def test_keys_are_paths_relative_to_the_root() -> None:
    index = pets()
    assert len(index) == 3
    assert index.keys(range(3)) == [b"cat/1.png", b"cat/2.png", b"dog/3.png"]
    assert Index.from_listings([listing(b"", [b"1.png"])]).key(0) == b"1.png"


def test_labels_follow_the_directories() -> None:
    labels = pets().labels(np.array([2, 0, 1, 2]))
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 0, 0, 1]


def test_a_split_without_labels_refuses_to_give_some() -> None:
    index = Index.from_listings([listing(b"", [b"1.png"])])
    assert index.classes is None
    with pytest.raises(ValueError, match="no labels"):
        index.labels(np.array([0]))


def test_columns_of_unequal_length_are_refused() -> None:
    index = pets()
    with pytest.raises(ValueError, match="same number"):
        Index(index.names, index.sizes[:2], index.mtimes_ns, index.directory_ids, index.directories)


@pytest.mark.parametrize("labelled", [True, False])
def test_an_index_comes_back_from_memory_mapped_columns(tmp_path: Path, labelled: bool) -> None:
    index = pets(classes=("cat", "dög")) if labelled else Index.from_listings([listing(b"x", [b"1.png", b"\xff.png"])])
    for name, column in index.columns().items():
        np.save(tmp_path / f"{name}.npy", column)
    again = Index.from_columns({name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in index.columns()})
    assert again.keys(range(len(again))) == index.keys(range(len(index)))
    assert again.classes == index.classes
    assert again.mtimes_ns.tolist() == index.mtimes_ns.tolist()
    assert fingerprint({"all": again}) == fingerprint({"all": index})
    if labelled:
        assert again.labels(np.arange(3)).tolist() == [0, 0, 1]


def test_names_like_imagenets_take_at_most_60_bytes_a_sample() -> None:
    listings = [listing(b"train/n%08d" % d, [b"n%08d_%d.JPEG" % (d, i) for i in range(1000)]) for d in range(20)]
    index = Index.from_listings(listings, range(20), tuple(f"n{d:08}" for d in range(20)))
    assert len(index) == 20_000
    assert 28 < index.nbytes / len(index) <= 60


def test_text_says_whether_it_was_escaped() -> None:
    assert text_of("kätzchen/1.png".encode()) == ("kätzchen/1.png", False)
    assert text_of(b"caf\xe9/1.png") == ("caf\\xe9/1.png", True)


def test_the_fingerprint_does_not_depend_on_times() -> None:
    assert fingerprint({"all": pets(mtime_ns=1)}) == fingerprint({"all": pets(mtime_ns=2)})


def test_the_fingerprint_depends_on_all_else() -> None:
    contents = {"all": np.zeros((3, 16), np.uint8)}
    other_contents = {"all": np.eye(3, 16, dtype=np.uint8)}
    unlabelled = Index.from_listings([listing(b"cat", [b"1.png", b"2.png"]), listing(b"dog", [b"3.png"])])
    moved = Index.from_listings(
        [listing(b"cat", [b"1.png"]), listing(b"dog", [b"2.png", b"3.png"])], [0, 1], ("cat", "dog")
    )
    renamed = Index.from_listings(
        [listing(b"cat", [b"1.png", b"2.png"]), listing(b"dog", [b"4.png"])], [0, 1], ("cat", "dog")
    )
    marks = [
        fingerprint({"all": pets()}),
        fingerprint({"train": pets()}),
        fingerprint({"all": pets(), "test": pets()}),
        fingerprint({"all": pets(size=11)}),
        fingerprint({"all": pets(classes=("cat", "wolf"))}),
        fingerprint({"all": pets(classes=("cat", "dog", "eel"))}),
        fingerprint({"all": unlabelled}),
        fingerprint({"all": moved}),
        fingerprint({"all": renamed}),
        fingerprint({"all": pets()}, contents),
        fingerprint({"all": pets()}, other_contents),
    ]
    assert len(set(marks)) == len(marks)


def test_the_fingerprint_does_not_depend_on_the_order_in_which_splits_are_named() -> None:
    a, b = pets(), pets(size=3)
    assert fingerprint({"train": a, "test": b}) == fingerprint({"test": b, "train": a})
    assert fingerprint({"train": a, "test": b}) != fingerprint({"train": b, "test": a})


def test_the_fingerprint_is_the_same_in_every_release() -> None:
    """A plan's id rests on it, so a change here ends every run that is to be resumed."""
    assert fingerprint({"all": pets()}) == "8b51f06c34156b0b7ad909a53ffebcc97365efd17b1e4a844fcd63d27749a92f"
