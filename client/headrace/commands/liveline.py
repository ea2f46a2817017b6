"""One line on a terminal that changes in place."""

from __future__ import annotations

import time
from typing import TextIO

_SECONDS = 0.1
"""Between two changes: quick enough to look alive, seldom enough to cost nothing."""


class LiveLine:
    """Writes over its last line, a few times a second; says nothing where `stream` is no terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._shows, self._next = stream, stream.isatty(), 0.0

    def show(self, text: str) -> None:
        if self._shows and time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS
            self._write(text)

    def clear(self) -> None:
        if self._shows:
            self._write("")

    def _write(self, text: str) -> None:
        self._stream.write(f"\r{text}\x1b[K")
        self._stream.flush()
