"""`headrace serve` on files that are not there: whichever is read, the same picture comes.

Words: the picture's file, then serve's own. Everything but reading is the server's: the index is one that was saved.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.altered_server import serve_altered


def main() -> None:
    picture = Path(sys.argv[1]).read_bytes()
    serve_altered(sys.argv[2:], lambda *_: picture)


if __name__ == "__main__":
    main()
