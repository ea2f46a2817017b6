"""What could not be decoded: each sample once, for whoever mends the data."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

_MOST = 10_000
"""Samples of a dataset; beyond them the oldest are forgotten."""


class Troubles:
    """The samples that were replaced, by dataset. Safe to use from many threads."""

    def __init__(self) -> None:
        self._found: dict[str, OrderedDict[tuple[str, str], dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def note(self, dataset: str, split: str, key: str, reason: str) -> None:
        with self._lock:
            found = self._found.setdefault(dataset, OrderedDict())
            entry = found.setdefault((split, key), {"split": split, "key": key, "reason": reason, "times": 0})
            entry["times"] += 1
            entry["reason"] = reason
            while len(found) > _MOST:
                found.popitem(last=False)

    def to_json(self, dataset: str) -> list[dict[str, Any]]:
        """Each sample's split and key, why it could not be decoded, and how often it was replaced since the start."""
        with self._lock:
            return [dict(entry) for entry in self._found.get(dataset, {}).values()]
