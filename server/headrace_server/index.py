"""The index of one split: what samples there are, in columns; and the fingerprint of a whole dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

# Rows hashed at once: bounds the copy that a foreign byte order would need.
_HASH_ROWS = 1 << 20


def text_of(key: bytes) -> tuple[str, bool]:
    """The text of a raw name and False, or where it is not UTF-8 an escaped form (``\\xff``) and True."""
    try:
        return key.decode("utf-8"), False
    except UnicodeDecodeError:
        return key.decode("utf-8", "backslashreplace"), True


class Strings:
    """Many byte strings in two arrays: ``blob`` (uint8), and ``offsets`` (int64, one more than there are strings)."""

    def __init__(self, blob: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        # A memory map is viewed as a plain array: slicing np.memmap costs microseconds.
        self.blob = np.asarray(blob)
        self.offsets = np.asarray(offsets)
        self._bytes = self.blob.data

    @classmethod
    def pack(cls, values: Sequence[bytes]) -> Strings:
        """Copy `values` into columns."""
        return cls(np.frombuffer(b"".join(values), np.uint8), _offsets([np.fromiter(map(len, values), np.int64)]))

    @classmethod
    def concatenate(cls, parts: Sequence[Strings]) -> Strings:
        """All strings of `parts`, in their order."""
        blob = np.concatenate([part.blob for part in parts]) if parts else np.empty(0, np.uint8)
        return cls(blob, _offsets([np.diff(part.offsets) for part in parts]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[bytes]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, i: int) -> bytes:
        if not 0 <= i < len(self.offsets) - 1:
            raise IndexError(f"{i} is not among the {len(self)} strings")
        return self._bytes[self.offsets[i] : self.offsets[i + 1]].tobytes()


def _offsets(lengths: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    offsets = np.zeros(1 + sum(map(len, lengths)), np.int64)
    if lengths:
        np.cumsum(np.concatenate(lengths), out=offsets[1:])
    return offsets


@dataclass(frozen=True)
class Listing:
    """The images of one directory: its path relative to the dataset's root, and one row for each file."""

    path: bytes
    names: Strings
    sizes: NDArray[np.int64]
    mtimes_ns: NDArray[np.int64]

    @classmethod
    def sorted_by_name(
        cls,
        path: bytes,
        names: Sequence[bytes],
        sizes: Sequence[int] | NDArray[np.int64],
        mtimes_ns: Sequence[int] | NDArray[np.int64],
    ) -> Listing:
        """Rows in any order become rows sorted by the bytes of their names."""
        order = sorted(range(len(names)), key=names.__getitem__)
        rows = np.array(order, np.intp)
        return cls(
            path,
            Strings.pack([names[i] for i in order]),
            np.asarray(sizes, np.int64)[rows],
            np.asarray(mtimes_ns, np.int64)[rows],
        )

    def __len__(self) -> int:
        return len(self.sizes)


class Index:
    """The samples of one split, in columns of plain arrays that can be saved and memory-mapped.

    Attributes:
        sizes: int64[N], bytes of each file.
        mtimes_ns: int64[N], when each was last modified, nanoseconds since 1970.
        directory_ids: int32[N], the row in `directories` of each sample's directory.
        names: the N file names.
        directories: the D paths of directories, relative to the dataset's root, b"" for the root itself.
        directory_labels: int64[D], the label of each directory's samples; None where there are no labels.
        classes: the names of the labels; None where there are no labels.
    """

    def __init__(
        self,
        names: Strings,
        sizes: NDArray[np.int64],
        mtimes_ns: NDArray[np.int64],
        directory_ids: NDArray[np.int32],
        directories: Strings,
        directory_labels: NDArray[np.int64] | None = None,
        classes: tuple[str, ...] | None = None,
    ) -> None:
        if not len(names) == len(sizes) == len(mtimes_ns) == len(directory_ids):
            lengths = f"{len(names)}, {len(sizes)}, {len(mtimes_ns)}, {len(directory_ids)}"
            raise ValueError(f"the columns of an index have {lengths} rows; expected the same number in each")
        if (classes is None) != (directory_labels is None):
            raise ValueError("an index has both classes and the labels of its directories, or neither")
        self.names = names
        self.sizes = sizes
        self.mtimes_ns = mtimes_ns
        self.directory_ids = directory_ids
        self.directories = directories
        self.directory_labels = directory_labels
        self.classes = classes

    @classmethod
    def from_listings(
        cls,
        listings: Sequence[Listing],
        labels: Sequence[int] | None = None,
        classes: tuple[str, ...] | None = None,
    ) -> Index:
        """Join directories, in the order given; `labels` has one for each of them."""
        counts = [len(listing) for listing in listings]
        return cls(
            names=Strings.concatenate([listing.names for listing in listings]),
            sizes=np.concatenate([listing.sizes for listing in listings]),
            mtimes_ns=np.concatenate([listing.mtimes_ns for listing in listings]),
            directory_ids=np.repeat(np.arange(len(listings), dtype=np.int32), counts),
            directories=Strings.pack([listing.path for listing in listings]),
            directory_labels=None if labels is None else np.array(labels, np.int64),
            classes=classes,
        )

    @classmethod
    def from_columns(cls, columns: Mapping[str, NDArray[np.generic]]) -> Index:
        """The index that `columns` describes, without a copy; raises KeyError where a column is missing."""

        def strings(prefix: str) -> Strings:
            return Strings(
                columns[f"{prefix}_blob"].astype(np.uint8, copy=False),
                columns[f"{prefix}_offsets"].astype(np.int64, copy=False),
            )

        classes = strings("class") if "class_blob" in columns else None
        return cls(
            names=strings("name"),
            sizes=columns["sizes"].astype(np.int64, copy=False),
            mtimes_ns=columns["mtimes_ns"].astype(np.int64, copy=False),
            directory_ids=columns["directory_ids"].astype(np.int32, copy=False),
            directories=strings("directory"),
            directory_labels=None if classes is None else columns["directory_labels"].astype(np.int64, copy=False),
            classes=None if classes is None else tuple(name.decode() for name in classes),
        )

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Every column by name, as `from_columns` takes them; the last three only where there are labels."""
        columns: dict[str, NDArray[np.generic]] = {
            "sizes": self.sizes,
            "mtimes_ns": self.mtimes_ns,
            "directory_ids": self.directory_ids,
            "name_blob": self.names.blob,
            "name_offsets": self.names.offsets,
            "directory_blob": self.directories.blob,
            "directory_offsets": self.directories.offsets,
        }
        if self.classes is not None and self.directory_labels is not None:
            classes = Strings.pack([name.encode() for name in self.classes])
            columns["directory_labels"] = self.directory_labels
            columns["class_blob"] = classes.blob
            columns["class_offsets"] = classes.offsets
        return columns

    @property
    def labelled(self) -> bool:
        return self.classes is not None

    @property
    def image_shape(self) -> None:
        """Files may be of any shape."""
        return None

    @cached_property
    def mean_size(self) -> int:
        """Mean bytes of a file, rounded up; a pass over the column of sizes."""
        return int(self.sizes.mean()) + 1

    def size(self, i: int) -> int:
        """Bytes of a file."""
        return int(self.sizes[i])

    @property
    def nbytes(self) -> int:
        """The memory that the columns take, in bytes."""
        return sum(column.nbytes for column in self.columns().values())

    def __len__(self) -> int:
        return len(self.sizes)

    def key(self, i: int) -> bytes:
        """The path of sample `i` relative to the dataset's root, as raw bytes with "/" between its parts."""
        name = self.names[i]
        directory = self.directories[int(self.directory_ids[i])]
        return directory + b"/" + name if directory else name

    def keys(self, ids: Iterable[int]) -> list[bytes]:
        """The `key` of each of `ids`."""
        return [self.key(i) for i in ids]

    def labels(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The label of each of `ids`; raises ValueError where the split has none (`classes` is None)."""
        if self.directory_labels is None:
            raise ValueError("this split has no labels: its images are not in class folders")
        return self.directory_labels[self.directory_ids[ids]]


def fingerprint(splits: Mapping[str, Index], contents: Mapping[str, NDArray[np.uint8]] | None = None) -> str:
    """Name a dataset by its keys, sizes, class names and split names, as 64 hexadecimal digits (BLAKE2b).

    Times and absolute paths do not count, so two copies of the same data have the same fingerprint.

    Args:
        splits: the index of each split.
        contents: uint8[N, 16] for each split, the digests of its samples' bytes, where these are to count too.
    """
    hasher = hashlib.blake2b(digest_size=32, person=b"headrace-index-1")
    for split in sorted(splits):
        columns = splits[split].columns()
        del columns["mtimes_ns"]
        if contents is not None:
            columns["contents"] = contents[split].reshape(-1)
        hasher.update(f"split {len(columns)} {split!r}\n".encode())
        for name in sorted(columns):
            _hash_column(hasher, name, columns[name])
    return hasher.hexdigest()


def _hash_column(hasher: hashlib.blake2b, name: str, column: NDArray[np.generic]) -> None:
    dtype = column.dtype.newbyteorder("<")
    # The length comes first, so that no two sets of columns give the same bytes.
    hasher.update(f"{name} {dtype.str} {len(column)}\n".encode())
    for start in range(0, len(column), _HASH_ROWS):
        hasher.update(np.ascontiguousarray(column[start : start + _HASH_ROWS], dtype).data)
