"""`headrace serve` on files that are not there: whichever is read, the same picture comes.

Words: the picture's file, then serve's own. Everything but reading is the server's: the index is one that was saved.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from headrace_server.commands.serve import Serve, settings_of
from headrace_server.logs import configure
from headrace_server.server import serve
from headrace_server.service import Service
from headrace_server.sources.base import Source


class SamePicture:
    """A source whose samples are all one picture."""

    def __init__(self, source: Source, picture: bytes) -> None:
        self._source, self._picture = source, picture

    def read(self, split: str, sample: int) -> bytes:
        return self._picture

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


def main() -> None:
    picture = Path(sys.argv[1]).read_bytes()
    parser = argparse.ArgumentParser()
    Serve().add_arguments(parser)
    settings = settings_of(parser.parse_args(sys.argv[2:]))
    configure(settings.log_level, settings.log_format)

    def announce(service: Service, url: str) -> None:
        for dataset in service.catalog:
            object.__setattr__(dataset, "source", SamePicture(dataset.source, picture))
            print(f"{sum(map(len, dataset.source.splits.values()))} samples", flush=True)
        print(f"serving on {url}", flush=True)

    serve(settings, lambda *_: None, announce)


if __name__ == "__main__":
    main()
