"""Indexes kept from one start of the server to the next: columns in `.npy` files that are memory-mapped, and a JSON.

The JSON names the folder of its columns and is put in place last, by renaming, so an index is there whole or not at
all. Columns are never changed once they are written, and servers that have them mapped keep them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from headrace_server.index import Index, Strings, text_of
from headrace_server.logs import logger
from headrace_server.sources.rescan import Rescan

VERSION = 1
"""To be raised when the columns change, or the rules by which a scan finds images, splits and classes."""

_STAT_THREADS = 16
_STAT_BLOCK = 256


class _Unusable(Exception):
    """A saved index that cannot be used; the message says why."""


@dataclass(frozen=True)
class Snapshot:
    """What a scan of a folder came to."""

    splits: Mapping[str, Index]
    skipped: Mapping[str, int]
    fingerprint: str
    directories: Mapping[bytes, int]
    """Every directory that was listed, by its real path, and when it had last been modified, in ns since 1970."""


@dataclass(frozen=True)
class SavedIndexes:
    """The saved indexes in a folder, one for each folder of images.

    A directory's time tells of files added, removed or renamed in it, and of folders; it is all that is looked at under
    "changed". A file whose content changed in place is noticed when it is read. "never" does not look at all, and
    "always" scans and saves anew.
    """

    folder: Path
    rescan: Rescan = "changed"

    def load(self, root: bytes, content: bool) -> Snapshot | None:
        """The snapshot of the images under `root`, a real path; None where it must be scanned, which is logged."""
        if self.rescan == "always":
            return None
        place = self._place(root)
        try:
            snapshot = _read(place, root, content, self.rescan == "changed")
        except FileNotFoundError as error:
            if Path(error.filename) != place:
                logger.warning("the saved index is damaged; scanning", index=str(place), reason=str(error))
            return None
        except _Unusable as error:
            logger.info("the saved index is not used; scanning", index=str(place), reason=str(error))
            return None
        except (OSError, ValueError, KeyError, EOFError, RecursionError) as error:
            logger.warning("the saved index is damaged; scanning", index=str(place), reason=_line(error))
            return None
        logger.info("the saved index is used", index=str(place))
        return snapshot

    def save(self, root: bytes, content: bool, snapshot: Snapshot) -> None:
        """Puts a snapshot in place of any before it. Where it cannot be written that is logged, and served without."""
        place = self._place(root)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            columns = _write_columns(place, snapshot)
            _write_json(place, _describe(root, content, snapshot, columns.name))
            for other in self.folder.glob(f"{place.stem}.*"):
                if other.is_dir() and other != columns:
                    shutil.rmtree(other, ignore_errors=True)
        except OSError as error:
            logger.warning("the index could not be saved", index=str(place), reason=_line(error))
        else:
            logger.info("the index is saved", index=str(place))

    def _place(self, root: bytes) -> Path:
        name = re.sub(r"[^A-Za-z0-9_-]", "_", os.fsdecode(os.path.basename(root)))[:64] or "root"
        return self.folder / f"{name}-{hashlib.blake2b(root, digest_size=8).hexdigest()}.json"


class _SplitFacts(BaseModel):
    model_config = ConfigDict(strict=True)

    samples: PositiveInt
    mean_size: PositiveInt


class _Description(BaseModel):
    """The JSON."""

    model_config = ConfigDict(strict=True)

    format: Literal["headrace-index"] = "headrace-index"
    version: int = VERSION
    root: str
    content: bool
    fingerprint: str
    splits: dict[str, _SplitFacts] = Field(min_length=1)
    skipped: dict[str, int]
    columns: str


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _describe(root: bytes, content: bool, snapshot: Snapshot, columns: str) -> _Description:
    splits = {
        name: _SplitFacts(samples=len(index), mean_size=index.mean_size) for name, index in snapshot.splits.items()
    }
    return _Description(
        root=text_of(root)[0],
        content=content,
        fingerprint=snapshot.fingerprint,
        splits=splits,
        skipped=dict(snapshot.skipped),
        columns=columns,
    )


def _write_columns(place: Path, snapshot: Snapshot) -> Path:
    """Writes the columns into a new folder beside the JSON, which has its final name once it is whole."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{place.stem}.", dir=place.parent))
    try:
        for split, index in snapshot.splits.items():
            for name, column in index.columns().items():
                np.save(temporary / f"{split}.{name}.npy", column)
        paths = Strings.pack(list(snapshot.directories))
        np.save(temporary / "directory_blob.npy", paths.blob)
        np.save(temporary / "directory_offsets.npy", paths.offsets)
        np.save(temporary / "directory_times.npy", np.array(list(snapshot.directories.values()), np.int64))
        os.chmod(temporary, 0o755)
        return temporary.rename(place.parent / temporary.name[1:])
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write_json(place: Path, description: _Description) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{place.stem}.", dir=place.parent)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            json.dump(description.model_dump(), file, indent=1)
        os.chmod(temporary, 0o644)
        os.replace(temporary, place)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read(place: Path, root: bytes, content: bool, compare: bool) -> Snapshot:
    data = json.loads(place.read_text(encoding="ascii"))
    if isinstance(data, dict) and data.get("version", VERSION) != VERSION:
        raise _Unusable(f"it has version {data['version']!r}; this server reads {VERSION}")
    description = _Description.model_validate(data)
    if description.root != text_of(root)[0]:
        raise ValueError(f"it is of the folder {description.root}")
    if description.content is not content:
        raise _Unusable("its fingerprint is of the other kind (option fingerprint)")
    folder = place.parent / os.path.basename(description.columns)
    directories = _directories(folder)
    if compare:
        _compare(directories)
    splits = {name: _index(folder, name, facts) for name, facts in description.splits.items()}
    return Snapshot(splits, description.skipped, description.fingerprint, directories)


def _column(path: Path) -> NDArray[np.generic]:
    column: NDArray[np.generic] = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    if column.ndim != 1:
        raise ValueError(f"{path.name} has {column.ndim} dimensions, expected 1")
    return column


def _index(folder: Path, split: str, facts: _SplitFacts) -> Index:
    files = {path.name[len(split) + 1 : -len(".npy")]: path for path in folder.glob(f"{split}.*.npy")}
    index = Index.from_columns({name: _column(path) for name, path in files.items()})
    if not 0 < len(index) == facts.samples:
        raise ValueError(f"split {split} has {len(index)} samples, expected {facts.samples}")
    for strings in (index.names, index.directories):
        _check_ends(strings)
    # The time that a pass over the sizes takes is saved, and their pages stay on the disk.
    index.mean_size = facts.mean_size
    return index


def _check_ends(strings: Strings) -> None:
    """What is cut off or mixed up shows here; a look at every row would read the whole index."""
    if not len(strings.offsets) or strings.offsets[0] != 0 or strings.offsets[-1] != len(strings.blob):
        raise ValueError("its strings do not begin and end where they should")


def _directories(folder: Path) -> dict[bytes, int]:
    blob, offsets, times = (_column(folder / f"directory_{name}.npy") for name in ("blob", "offsets", "times"))
    paths = Strings(blob.astype(np.uint8, copy=False), offsets.astype(np.int64, copy=False))
    _check_ends(paths)
    return dict(zip(paths, times.tolist(), strict=True))


def _compare(directories: Mapping[bytes, int]) -> None:
    """Raises _Unusable naming a directory that has changed."""
    paths = list(directories)
    blocks = [paths[first : first + _STAT_BLOCK] for first in range(0, len(paths), _STAT_BLOCK)]

    def first_changed(block: list[bytes]) -> bytes | None:
        return next((path for path in block if _modified(path) != directories[path]), None)

    with ThreadPoolExecutor(_STAT_THREADS, "headrace-stat") as pool:
        for path in pool.map(first_changed, blocks):
            if path is not None:
                pool.shutdown(wait=False, cancel_futures=True)
                raise _Unusable(f"{text_of(path)[0]} has changed")


def _modified(path: bytes) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None
