"""Arrays as a source: images in one `image.npy` for each split, memory-mapped, with nothing to decode."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headrace_proto.buffers import BufferPool
from headrace_server.array_index import ArrayIndex, array_fingerprint
from headrace_server.decode import Decoded
from headrace_server.errors import ConfigurationError, SampleChanged, SampleError, SampleUnavailable, SampleVanished
from headrace_server.index import text_of
from headrace_server.sources.base import Progress, unheard
from headrace_server.sources.npy import IMAGE, LABEL, class_names, digest, label_column, map_array
from headrace_server.sources.splits import ONLY_SPLIT, is_split

Gather = Callable[[NDArray[np.int64], BufferPool], list[memoryview]]
"""The bytes of the images of samples, by their numbers: in one part, in a buffer of the pool, or in several."""

_PAGE = 4096
_WORTH_A_PART = 4 * _PAGE
"""Bytes of an image from which on it costs less to send it from where it lies than to copy it first."""


@dataclass(frozen=True)
class ImageFile:
    """The images of a split, and their file's size and time as it was opened."""

    path: str
    images: NDArray[np.uint8]
    """(N, height, width, channels), C-contiguous, a view of the file."""
    nbytes: int
    mtime_ns: int

    @property
    def rows(self) -> NDArray[np.uint8]:
        """(N, bytes of an image), the same memory."""
        return self.images.reshape(len(self.images), -1)


@dataclass(frozen=True)
class ArraysSource:
    """The arrays under a folder, as they were when they were opened; a `Source` that reads pictures, not files."""

    name: str
    files: Mapping[str, ImageFile]
    splits: Mapping[str, ArrayIndex]
    skipped: Mapping[str, int]
    fingerprint: str

    def read(self, split: str, sample: int) -> Decoded:
        """A copy of one picture; see `Source.read`."""
        self._check(split)
        image = self.files[split].images[sample].copy()
        return Decoded(image, image.shape[0], image.shape[1])

    def gather(self, split: str, samples: NDArray[np.int64], buffers: BufferPool) -> list[memoryview]:
        """The bytes of the images of `samples`, one after the other; see `Gather`. Raises as `read` does."""
        self._check(split)
        rows = self.files[split].rows
        if rows.shape[1] >= _WORTH_A_PART:
            # Whoever sends them must not wait for the disk: this has every page of them brought into memory.
            rows[samples, ::_PAGE]
            return [rows[sample].data for sample in samples.tolist()]
        out = buffers.get(len(samples) * rows.shape[1])
        # Any other mode copies twice, by way of a buffer. The order of an epoch names no sample that is not there.
        np.take(rows, samples, axis=0, out=out.reshape(len(samples), -1), mode="clip")
        return [out.data]

    def _check(self, split: str) -> None:
        """A file that another took the place of is still mapped as it was, but other servers have the new one."""
        file = self.files[split]
        expected = f"{file.nbytes} bytes, modified at {file.mtime_ns} ns, as it was opened"
        try:
            status = os.stat(file.path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self._error(SampleVanished, split, f"the file is gone; expected {expected}") from error
        except OSError as error:
            raise self._error(SampleUnavailable, split, f"{error.strerror or error}; expected {expected}") from error
        if (status.st_size, status.st_mtime_ns) != (file.nbytes, file.mtime_ns):
            found = f"{status.st_size} bytes, modified at {status.st_mtime_ns} ns"
            raise self._error(SampleChanged, split, f"found {found}; expected {expected}")

    def _error(self, kind: type[SampleError], split: str, reason: str) -> SampleError:
        key = self.splits[split].prefix + IMAGE
        return kind(reason, dataset=self.name, split=split, key=key, stage="read")


def array_folders(path: str | os.PathLike[str]) -> dict[str, Path]:
    """The folders that hold an `image.npy`, by split: the one given or split folders in it; none if it is no such data.

    Raises ConfigurationError where there are both.
    """
    root = Path(path)
    below = {folder.name: folder for folder in _folders(root) if is_split(folder.name) and (folder / IMAGE).is_file()}
    if not (root / IMAGE).is_file():
        return dict(sorted(below.items()))
    if below:
        shown, also = text_of(os.fsencode(root))[0], ", ".join(sorted(below))
        raise ConfigurationError(f"{shown} holds {IMAGE}, and so do folders in it ({also}); keep one or the other")
    return {ONLY_SPLIT: root}


def open_arrays(
    path: str | os.PathLike[str],
    *,
    name: str,
    content: bool = False,
    hash_progress: Progress = unheard,
) -> ArraysSource:
    """Map the arrays of a folder: `image.npy` and perhaps `label.npy`, there or in its split folders.

    Args:
        path: a folder for which `array_folders` finds some.
        name: what clients call the dataset.
        content: let the images' bytes count in the fingerprint; all of them are read.
        hash_progress: is told how many images of the split in hand were read so far, where `content` is set.

    Raises:
        ConfigurationError: a file is not what it should be; the message names it.
    """
    folders = array_folders(path)
    classes = class_names([Path(path), *folders.values()])
    files = {split: _open_file(folder) for split, folder in folders.items()}
    splits = {split: _index(split, folder, files[split], classes) for split, folder in folders.items()}
    contents = {split: digest(file.images, hash_progress) for split, file in files.items()} if content else None
    mark = array_fingerprint(splits, {split: file.nbytes for split, file in files.items()}, contents)
    return ArraysSource(name, files, splits, {}, mark)


def _folders(root: Path) -> Iterable[Path]:
    try:
        return [entry for entry in root.iterdir() if entry.is_dir()]
    except OSError:
        return []  # whoever scans it says what is wrong


def _open_file(folder: Path) -> ImageFile:
    path = folder / IMAGE
    images = map_array(path)
    if images.ndim not in (3, 4) or images.dtype != np.uint8 or 0 in images.shape:
        raise ConfigurationError(
            f"{path} is {images.dtype} of shape {images.shape}; "
            "expected uint8 of shape (samples, height, width) or (samples, height, width, channels), with no 0 in it"
        )
    if not images.flags.c_contiguous:
        raise ConfigurationError(f"{path} is in Fortran's order; save numpy.ascontiguousarray of it")
    if images.ndim == 3:
        images = images[..., np.newaxis]
    status = os.stat(path)
    return ImageFile(os.path.realpath(path), images, status.st_size, status.st_mtime_ns)


def _index(split: str, folder: Path, file: ImageFile, classes: tuple[str, ...] | None) -> ArrayIndex:
    count = len(file.images)
    labels = label_column(folder / LABEL, count, classes) if (folder / LABEL).exists() else None
    prefix = "" if split == ONLY_SPLIT else f"{split}/"
    height, width, channels = file.images.shape[1:]
    return ArrayIndex(prefix, count, (height, width, channels), labels, None if labels is None else classes)
