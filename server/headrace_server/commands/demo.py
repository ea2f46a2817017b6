"""`headrace demo`: serve and train, end to end."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

from ..errors import ConfigurationError
from .children import child, ending_on_signals
from .digits import COUNTS, write_digits

_TRAINER = "headrace.examples.digits"
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}
_NEEDED = {"fastapi": "headrace[server]", "PIL": "headrace[server]", "tensorflow": "headrace[tensorflow]"}
_ANNOUNCED = "serving on "
_GLANCE_SECONDS = 0.2
"""How often to see whether the server still runs."""


class Demo:
    summary = "serve handwritten digits and train on them, end to end, in a minute"
    examples = """\
  headrace demo                             writes ./demo-data, serves it, trains a small Keras CNN from it
  headrace demo --epochs 30                 trains for longer
  headrace demo --data /tmp/digits          writes the images there

What it starts can be started by hand, each on a machine of its own:

  headrace serve digits=demo-data
  python -m headrace.examples.digits --url http://127.0.0.1:8000
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--epochs", type=int, metavar="N", help="passes over the training images (default: 15)")
        parser.add_argument(
            "--data", type=Path, default=Path("demo-data"), metavar="DIR", help="where images go (default: demo-data)"
        )
        parser.add_argument("--port", type=int, default=0, help="the server's; 0, the default, takes a free one")

    def run(self, arguments: argparse.Namespace) -> int:
        began = time.monotonic()
        try:
            with ending_on_signals():
                _check(arguments)
                _prepare(arguments.data)
                status = _serve_and_train(arguments)
        except ConfigurationError as error:
            print(f"headrace demo: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            below = "\n" if sys.stdout.isatty() else ""  # the trainer was writing a line in place
            print(f"{below}headrace demo: stopped", file=sys.stderr)
            return 130
        if status == 0:
            _say("done", f"in {time.monotonic() - began:.0f} s; see what it trained on:")
            print(f"          headrace serve digits={arguments.data}")
            print("          headrace show http://127.0.0.1:8000 digits --split train --shuffle")
        return status


def _check(arguments: argparse.Namespace) -> None:
    """Raises ConfigurationError for what would only be found out after the server has started."""
    if arguments.epochs is not None and arguments.epochs < 1:
        raise ConfigurationError(f"--epochs must be at least 1, found {arguments.epochs}")
    for package, extra in _NEEDED.items():
        if importlib.util.find_spec(package) is None:
            raise ConfigurationError(f'the demo needs the package {package}, which is missing: pip install "{extra}"')


def _prepare(data: Path) -> None:
    written = write_digits(data)
    counts = " and ".join(f"{count:,} in {data / split}" for split, count in COUNTS.items())
    _say("images", f"handwritten digits, {counts}{'' if written else ' (there already)'}")


def _serve_and_train(arguments: argparse.Namespace) -> int:
    """Runs both to the end, and returns the trainer's exit status."""
    data = arguments.data.resolve()
    # From the folder of images, no configuration file is found; and without the operator's variables the demo is
    # the same everywhere.
    place = {"cwd": data, "env": {name: value for name, value in os.environ.items() if not _ours(name)} | _QUIET}
    words = [sys.executable, "-m", "headrace", "serve", f"digits={data}", "--host", "127.0.0.1"]
    words += ["--port", str(arguments.port), "--log-level", "warning"]
    with child(words, stdout=subprocess.PIPE, **place) as server:
        url = _url(server)
        _say("server", f"headrace serve digits={arguments.data}   on {url}, process {server.pid}")
        words = [sys.executable, "-m", _TRAINER, "--url", url]
        words += [] if arguments.epochs is None else ["--epochs", str(arguments.epochs)]
        with child(words, **place) as trainer:
            _say("trainer", f"python -m {_TRAINER} --url {url}   process {trainer.pid}")
            return _watched(trainer, server)


def _url(server: subprocess.Popen[str]) -> str:
    """Waits until the server listens, and returns its address. If it ends instead, it has said why."""
    assert server.stdout is not None
    for line in server.stdout:
        if _ANNOUNCED in line:
            return line.split(_ANNOUNCED)[1].split()[0]
    raise ConfigurationError(f"the server did not start (exit status {server.wait()})")


def _watched(trainer: subprocess.Popen[str], server: subprocess.Popen[str]) -> int:
    """Waits for the trainer, as long as the server runs."""
    while True:
        try:
            status = trainer.wait(_GLANCE_SECONDS)
        except subprocess.TimeoutExpired:
            if server.poll() is not None:
                raise ConfigurationError(
                    f"the server ended while the trainer ran (exit status {server.returncode})"
                ) from None
            continue
        if status < 0:
            raise ConfigurationError(f"the trainer was ended by signal {-status}")
        return status


def _ours(variable: str) -> bool:
    return variable.startswith("HEADRACE_")


def _say(what: str, more: str) -> None:
    print(f"{what:<10}{more}", flush=True)
