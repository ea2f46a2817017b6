"""The plans that were posted to any process of a server, in files that all of them read."""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path
from typing import Any

KEPT = 1024
"""Plans that a server remembers; one that it has forgotten is posted again."""
_ID = re.compile(r"[0-9a-f]{32}")


class PlanFiles:
    """Plans as JSON, by id, in files that appear whole; the longest unused is removed first."""

    def __init__(self, folder: Path, most: int = KEPT) -> None:
        self._folder, self._most = folder, most

    def put(self, plan_id: str, plan: dict[str, Any]) -> None:
        path = self._path(plan_id)
        if self._touch(path):
            return
        part = self._folder / f"{plan_id}.{os.getpid()}.{threading.get_ident()}.part"
        part.write_text(json.dumps(plan))
        part.replace(path)
        self._remove_oldest()

    def get(self, plan_id: str) -> Any:
        """The plan's JSON data, or None where it is not known."""
        if not _ID.fullmatch(plan_id):  # it came in a request, and becomes a file's name
            return None
        path = self._path(plan_id)
        try:
            text = path.read_text()
        except FileNotFoundError:
            return None
        self._touch(path)
        return json.loads(text)

    def _path(self, plan_id: str) -> Path:
        return self._folder / f"{plan_id}.plan"

    def _touch(self, path: Path) -> bool:
        """Marks the plan as used now. False where it is not there."""
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def _remove_oldest(self) -> None:
        paths = list(self._folder.glob("*.plan"))
        if len(paths) > self._most:
            for path in sorted(paths, key=_time)[: len(paths) - self._most]:
                path.unlink(missing_ok=True)


def _time(path: Path) -> int:
    """When a plan was used last; 0 where another process has removed it meanwhile."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
