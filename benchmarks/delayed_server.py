"""`headrace serve` on storage that takes its time. Words: the seconds that each read takes longer, then serve's own."""

from __future__ import annotations

import sys
import time
from typing import Any

from benchmarks.altered_server import serve_altered
from headrace_server.sources.base import Source


def main() -> None:
    seconds = float(sys.argv[1])

    def read(source: Source, split: str, sample: int) -> Any:
        time.sleep(seconds)
        return source.read(split, sample)

    serve_altered(sys.argv[2:], read)


if __name__ == "__main__":
    main()
