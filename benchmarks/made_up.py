"""Ten million made-up samples, as the server would have saved their index after a scan."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from headrace_server.index import Index, Strings, fingerprint
from headrace_server.sources.saved import SavedIndexes, Snapshot

_CLASSES = 1000
_NAME = 12
"""Bytes of each name, as in 00001234.jpg."""


def made_up_index(count: int) -> Index:
    """An index of `count` samples in a thousand classes."""
    numbers = np.arange(count, dtype=np.int64)
    names = np.empty((count, _NAME), np.uint8)
    for place in range(8):
        names[:, 7 - place] = numbers // 10**place % 10 + ord("0")
    names[:, 8:] = np.frombuffer(b".jpg", np.uint8)
    classes = tuple(f"class-{number:03}" for number in range(_CLASSES))
    return Index(
        names=Strings(names.reshape(-1), np.arange(count + 1, dtype=np.int64) * _NAME),
        sizes=np.full(count, 60_000, np.int64),
        mtimes_ns=np.full(count, 1_700_000_000_000_000_000, np.int64),
        directory_ids=(numbers * _CLASSES // count).astype(np.int32),
        directories=Strings.pack([name.encode() for name in classes]),
        directory_labels=np.arange(_CLASSES, dtype=np.int64),
        classes=classes,
    )


def save(root: Path, indexes: Path, count: int) -> Index:
    """Saves an index of files in `root`, where only the folders are; the server finds them unchanged."""
    index = made_up_index(count)
    folders = [root, *(root / name for name in index.classes or ())]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    real = os.fsencode(os.path.realpath(root))
    times = {os.fsencode(os.path.realpath(folder)): folder.stat().st_mtime_ns for folder in folders}
    splits = {"all": index}
    SavedIndexes(indexes).save(real, False, Snapshot(splits, {}, fingerprint(splits), times))
    return index
