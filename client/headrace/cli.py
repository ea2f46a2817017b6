"""The command line: finds the command, runs it, and prints its errors in one line."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from importlib import metadata

from headrace_proto.version import __version__

from .commands.base import Command
from .errors import HeadraceError, UsageError

GROUP = "headrace.commands"
_OWN = {"datasets": "Datasets", "show": "Show", "bench": "Bench"}
_FIRST = ("serve", "demo")
_EXAMPLES = """\
examples:
  headrace serve ./flowers                       serve a folder of images
  headrace datasets http://storage:8000          what a server has
  headrace show http://storage:8000 flowers      a picture of a batch, as the model sees it
  headrace bench http://storage:8000 flowers     how fast this machine gets batches

`headrace COMMAND --help` says more about each.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status: 0, 1 for an error, 2 for a wrong call, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        name = words[0] if words else None
        if name is None or name.startswith("-") or name not in _names():
            return _help(words)
        return _run(name, _load(name), words[1:])
    except HeadraceError as error:
        print(f"headrace: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(name: str, command: Command, words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog=f"headrace {name}",
        description=command.summary,
        epilog=f"examples:\n{command.examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    return command.run(parser.parse_args(words))


def _help(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="headrace",
        description="Image batches, decoded beside the storage and streamed to trainers.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"headrace {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in _names():
        commands.add_parser(name, help=_summary(name))
    parser.parse_args(words or ["--help"])  # prints, and exits
    return 0


def _names() -> list[str]:
    return [*(name for name in _FIRST if name in _others()), *_OWN, *(n for n in _others() if n not in _FIRST)]


def _others() -> dict[str, metadata.EntryPoint]:
    return {entry.name: entry for entry in metadata.entry_points(group=GROUP)}


def _summary(name: str) -> str:
    try:
        return _load(name).summary
    except UsageError as error:
        return str(error)


def _load(name: str) -> Command:
    """The command of this name. Raises UsageError where its packages are not installed."""
    try:
        if name in _OWN:
            command: Command = getattr(importlib.import_module(f".commands.{name}", __package__), _OWN[name])()
        else:
            command = _others()[name].load()()
    except ModuleNotFoundError as error:
        raise UsageError(
            f'`headrace {name}` needs the package {error.name}, which is not installed: pip install "headrace[server]"'
        ) from error
    return command
