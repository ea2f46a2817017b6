"""What could not be decoded: each sample once, for whoever mends the data."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

from .logs import logger

_MOST = 10_000
"""Samples; beyond them the oldest are forgotten."""
_SECONDS = 10.0
"""For which one process waits for another's writing."""
_TABLE = """
    CREATE TABLE IF NOT EXISTS found (
        number INTEGER PRIMARY KEY, dataset TEXT, split TEXT, key TEXT, reason TEXT, times INTEGER,
        UNIQUE (dataset, split, key)
    )"""
_NOTE = """
    INSERT INTO found (dataset, split, key, reason, times) VALUES (?, ?, ?, ?, 1)
    ON CONFLICT DO UPDATE SET times = times + 1, reason = excluded.reason"""
_FORGET = "DELETE FROM found WHERE number <= (SELECT max(number) FROM found) - ?"
_LIST = "SELECT split, key, reason, times FROM found WHERE dataset = ? ORDER BY number"


class Troubles:
    """The samples that were replaced, by dataset. Safe to use from many threads, and processes of one server."""

    def __init__(self, shared: Path | None = None) -> None:
        """`shared` is the directory that the processes of a server share; one alone keeps all in memory."""
        place = ":memory:" if shared is None else shared / "problems.sqlite"
        self._lock = threading.Lock()
        self._database = sqlite3.connect(place, timeout=_SECONDS, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA synchronous = OFF")  # it is to outlive a process, not the machine
        self._database.execute(_TABLE)

    def note(self, dataset: str, split: str, key: str, reason: str) -> None:
        """What cannot be written is logged only: the batch itself is in order."""
        with self._lock:
            try:
                self._database.execute(_NOTE, (dataset, split, key, reason))
                self._database.execute(_FORGET, (_MOST,))
            except sqlite3.Error as error:
                logger.warning("a problem is not listed", dataset=dataset, split=split, key=key, error=str(error))

    def to_json(self, dataset: str) -> list[dict[str, Any]]:
        """Each sample's split and key, why it could not be decoded, and how often it was replaced since the start."""
        with self._lock:
            rows = self._database.execute(_LIST, (dataset,)).fetchall()
        return [dict(zip(("split", "key", "reason", "times"), row, strict=True)) for row in rows]

    def close(self) -> None:
        with self._lock:
            self._database.close()
