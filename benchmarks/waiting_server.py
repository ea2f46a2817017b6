"""`headrace serve` as if there were a core for each decoding thread: JPEGs take a millisecond each, and nobody's core.

What it can still send is what one process's Python is good for.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from headrace.cli import main
from headrace_server import workshop
from headrace_server.native import JpegMaker, JpegTask

_SECONDS = 0.001
"""About what a JPEG of 500x375 takes to be decoded and resized."""


def make_slowly(maker: JpegMaker, tasks: Sequence[JpegTask]) -> list[bool]:
    """Without the interpreter's lock, as the decoder works."""
    time.sleep(_SECONDS * len(tasks))
    return _make(maker, tasks)


if __name__ == "__main__":
    _make = JpegMaker.make
    JpegMaker.make = make_slowly  # type: ignore[assignment,method-assign]
    workshop._LONGEST_RUN = workshop._SHORTEST_RUN  # as it is where decoding takes the time of a core
    sys.exit(main(["serve", *sys.argv[1:]]))
