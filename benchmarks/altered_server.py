"""`headrace serve` with another way to read its sources, for storage that this machine does not have."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from headrace_server.commands.serve import Serve, settings_of
from headrace_server.logs import configure
from headrace_server.server import serve
from headrace_server.sources.base import Source

Read = Callable[[Source, str, int], Any]
"""Gives the bytes of a source's sample, of a split."""


class Altered:
    """A source that is read another way."""

    def __init__(self, source: Source, read: Read) -> None:
        self._source, self._read = source, read

    def read(self, split: str, sample: int) -> Any:
        return self._read(self._source, split, sample)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


def serve_altered(words: Sequence[str], read: Read) -> None:
    """Serves as `headrace serve WORDS` does."""
    parser = argparse.ArgumentParser()
    Serve().add_arguments(parser)
    settings = settings_of(parser.parse_args(words))
    configure(settings.log_level, settings.log_format)

    def announce(served: Any, url: str) -> None:
        for dataset in served.catalog:
            object.__setattr__(dataset, "source", Altered(dataset.source, read))  # there is no option for this
        print(f"serving on {url}", flush=True)

    serve(settings, lambda *_: None, announce)
