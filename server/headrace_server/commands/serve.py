"""`headrace serve`: serves folders of images."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError, WorkersFailed
from ..settings import Settings, load_settings

if TYPE_CHECKING:
    from ..service import Holdings

_PROGRESS_SECONDS = 1.0


class Serve:
    summary = "serve folders of images to trainers"
    examples = """\
  headrace serve ./flowers                              class folders, or train/ and val/ above them
  headrace serve ./flowers birds=/data/cub --port 9000  two datasets
  headrace serve ./scans --transforms '[{"name": "Resize", "size": [512, 512]}]'
  headrace serve --config headrace.toml                 every option is a key of the file, too
  HEADRACE_DECODE_THREADS=8 headrace serve ./flowers    and a variable of the environment
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("data", nargs="*", metavar="DATA", help="a folder, or NAME=FOLDER")
        parser.add_argument("--config", type=Path, metavar="FILE", help="default: headrace.toml, if it is there")
        for name, field in Settings.model_fields.items():
            if name == "data":
                continue
            flag, default = f"--{name.replace('_', '-')}", field.get_default(call_default_factory=True)
            shown = _shown(default)
            help_text = f"{field.description} (default: {shown})".replace("%", "%%")
            parser.add_argument(flag, dest=name, metavar=_metavar(default), help=help_text)

    def run(self, arguments: argparse.Namespace) -> int:
        try:
            _serve(settings_of(arguments))
        except (ConfigurationError, WorkersFailed) as error:
            print(f"headrace serve: {error}", file=sys.stderr)
            return 1
        return 0


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings that a parsed command line asks for. Raises ConfigurationError."""
    given = {name: value for name, value in vars(arguments).items() if value not in (None, [])}
    config = given.pop("config", None)
    return load_settings(given, config)


def _serve(settings: Settings) -> None:
    # Here, so that help and wrong calls answer at once: the web framework and the decoders take a while to import.
    from ..logs import configure
    from ..server import serve

    configure(settings.log_level, settings.log_format)
    serve(settings, _Progress(), _announce)


def _announce(holdings: Holdings, url: str) -> None:
    for dataset in holdings.catalog:
        for split, index in dataset.source.splits.items():
            images = "1 image" if len(index) == 1 else f"{len(index):,} images"
            print(f"headrace: {dataset.name}/{split}: {images}", flush=True)
        for reason, count in dataset.source.skipped.items():
            print(f"headrace: {dataset.name}: left out {count:,} ({reason})", flush=True)
    print(f"headrace: serving on {url} (stop with Ctrl-C)", flush=True)


class _Progress:
    """Says now and then how many files were found; quick scans pass in silence."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _PROGRESS_SECONDS

    def __call__(self, name: str, files: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _PROGRESS_SECONDS
            print(f"headrace: {name}: {files:,} files so far", file=sys.stderr, flush=True)


def _shown(default: Any) -> Any:
    if default is None:
        return "none"
    return default if isinstance(default, (str, int, float)) else json.dumps(default)


def _metavar(default: Any) -> str:
    if isinstance(default, (list, dict)):
        return "JSON"
    return "TEXT" if default is None or isinstance(default, str) else "NUMBER"
