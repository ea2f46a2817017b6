"""`headrace serve` on storage that takes its time: every read sleeps first. Words: the seconds, then serve's own."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from headrace_server.commands.serve import Serve, settings_of
from headrace_server.logs import configure
from headrace_server.server import serve
from headrace_server.service import Service
from headrace_server.sources.base import Source


class Delayed:
    """A source whose reads take some seconds longer."""

    def __init__(self, source: Source, seconds: float) -> None:
        self._source, self._seconds = source, seconds

    def read(self, split: str, sample: int) -> Any:
        time.sleep(self._seconds)
        return self._source.read(split, sample)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


def main() -> None:
    seconds = float(sys.argv[1])
    parser = argparse.ArgumentParser()
    Serve().add_arguments(parser)
    settings = settings_of(parser.parse_args(sys.argv[2:]))
    configure(settings.log_level, settings.log_format)

    def announce(service: Service, url: str) -> None:
        for dataset in service.catalog:
            object.__setattr__(dataset, "source", Delayed(dataset.source, seconds))  # there is no option for this
        print(f"serving on {url}", flush=True)

    serve(settings, lambda *_: None, announce)


if __name__ == "__main__":
    main()
