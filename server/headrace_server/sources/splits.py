"""The folders that are splits, by their names."""

from __future__ import annotations

ONLY_SPLIT = "all"
"""The split of data that has no split folders."""

SPLITS = frozenset({"train", "val", "validation", "test"})


def is_split(name: str) -> bool:
    """Whether a folder of this name, in any case, holds a split."""
    return name.lower() in SPLITS
