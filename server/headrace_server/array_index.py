"""The index of a split whose samples are rows of an array: nothing is stored but labels, keys are computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DIGITS = 7
"""Row numbers in keys have so many at least, so that keys sort as rows do."""


@dataclass(frozen=True, eq=False)
class ArrayIndex:
    """The rows of one array of images; a `SampleIndex`."""

    prefix: str
    """Of every key: the split's folder and "/", or nothing."""
    count: int
    image_shape: tuple[int, int, int]
    """(height, width, channels)"""
    label_column: NDArray[np.int64] | None = None
    classes: tuple[str, ...] | None = None

    @property
    def labelled(self) -> bool:
        return self.label_column is not None

    @property
    def mean_size(self) -> int:
        """Bytes of a sample."""
        height, width, channels = self.image_shape
        return height * width * channels

    def size(self, i: int) -> int:
        """Bytes of a sample, the same for all."""
        return self.mean_size

    def __len__(self) -> int:
        return self.count

    def key(self, i: int) -> bytes:
        """The row's number with the split's folder before it, as in ``train/0000123``."""
        return f"{self.prefix}{i:0{self._digits}}".encode()

    def keys(self, ids: Iterable[int]) -> list[bytes]:
        """The `key` of each of `ids`."""
        prefix, digits = self.prefix, self._digits
        return [f"{prefix}{i:0{digits}}".encode() for i in ids]

    def labels(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The label of each of `ids`; raises ValueError where the split has none."""
        if self.label_column is None:
            raise ValueError("this split has no labels: there is no label.npy beside its images")
        return self.label_column[ids]

    @property
    def _digits(self) -> int:
        return max(_DIGITS, len(str(self.count - 1)))


def array_fingerprint(
    splits: Mapping[str, ArrayIndex], file_sizes: Mapping[str, int], contents: Mapping[str, bytes] | None
) -> str:
    """Name a dataset of arrays by its splits' shapes, labels, class names and file sizes, as 64 hexadecimal digits.

    Args:
        splits: the index of each split.
        file_sizes: bytes of each split's file of images.
        contents: digests of the images' bytes, where these are to count too.
    """
    hasher = hashlib.blake2b(digest_size=32, person=b"headrace-array-1")
    for split, index in sorted(splits.items()):
        column = index.label_column
        facts = [split, "uint8", index.count, index.image_shape, index.classes, file_sizes[split], column is not None]
        if contents is not None:
            facts.append(contents[split].hex())
        text = json.dumps(facts, ensure_ascii=True).encode()
        hasher.update(b"%d %s" % (len(text), text))
        if column is not None:
            hasher.update(np.ascontiguousarray(column, "<i8").data)
    return hasher.hexdigest()
