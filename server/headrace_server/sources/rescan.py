"""When a folder whose index was saved is scanned again."""

from __future__ import annotations

from typing import Literal

Rescan = Literal["changed", "always", "never"]
"""When a directory in it has another time than it had; at every start; or not at all, whatever happened to it."""
