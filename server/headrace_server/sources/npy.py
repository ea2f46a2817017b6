"""The files beside arrays of images: labels and the names of classes; and how an `.npy` file is opened."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace_server.errors import ConfigurationError
from headrace_server.sources.base import Progress

IMAGE, LABEL = "image.npy", "label.npy"
CLASS_FILES = ("classes.txt", "classes.json")

_DIGEST_ROWS_BYTES = 1 << 24


def map_array(path: Path) -> NDArray[Any]:
    """The array in an `.npy` file, memory-mapped and read-only. Raises ConfigurationError for anything else."""
    try:
        # A plain view: slicing numpy.memmap costs microseconds.
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"{path} is no array that numpy.save wrote, or is cut off: {reason}") from error


def label_column(path: Path, count: int, classes: tuple[str, ...] | None) -> NDArray[np.int64]:
    """int64[count], one label for each image; below the number of classes where those are named."""
    column = map_array(path)
    if column.shape != (count,) or not np.issubdtype(column.dtype, np.integer):
        raise ConfigurationError(
            f"{path} is {column.dtype} of shape {column.shape}; "
            f"expected integers of shape ({count},), one for each image"
        )
    if column.dtype == np.uint64 and column.max() > np.iinfo(np.int64).max:
        raise ConfigurationError(f"{path} holds the label {column.max()}; expected labels that int64 can hold")
    if classes is not None and not (column.min() >= 0 and column.max() < len(classes)):
        raise ConfigurationError(
            f"{path} holds labels from {column.min()} to {column.max()}; "
            f"expected 0 to {len(classes) - 1}, as there are {len(classes)} class names"
        )
    return column.astype(np.int64)


def class_names(folders: Iterable[Path]) -> tuple[str, ...] | None:
    """The names in the `classes.txt` (one a line) or `classes.json` (a list) of any of the folders; None without one.

    Raises ConfigurationError where two files do not say the same, so that a label means the same in all splits.
    """
    paths = dict.fromkeys(folder / file for folder in folders for file in CLASS_FILES if (folder / file).is_file())
    found = {path: _read_classes(path) for path in paths}
    if not found:
        return None
    first, *others = found
    for other in others:
        if found[other] != found[first]:
            raise ConfigurationError(f"{first} and {other} name different classes; expected the same, or one file")
    return found[first]


def _read_classes(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8")
        names = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        wanted = "a list of names" if path.suffix == ".json" else "a name on each line"
        raise ConfigurationError(f"{path} does not name classes; expected {wanted}, none of them empty")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigurationError(f"{path} names the class {twice[0]!r} twice; expected each once")
    return tuple(names)


def digest(images: NDArray[np.uint8], progress: Progress) -> bytes:
    """Of all bytes of the images, block by block."""
    hasher = hashlib.blake2b(digest_size=16)
    rows = max(1, _DIGEST_ROWS_BYTES // images[0].nbytes)
    for start in range(0, len(images), rows):
        hasher.update(images[start : start + rows].data)
        progress(min(start + rows, len(images)))
    return hasher.digest()
