"""What a command of `headrace` is."""

from __future__ import annotations

import argparse
from typing import Protocol


class Command(Protocol):
    """A command. Other packages add theirs by the entry point group "headrace.commands"."""

    summary: str
    """One line for `headrace --help`."""
    examples: str
    """Lines for `headrace COMMAND --help`, which teach by example."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, arguments: argparse.Namespace) -> int:
        """Returns the exit status. A HeadraceError that it raises is printed in one line."""
        ...


def counted(images: int) -> str:
    return "1 image" if images == 1 else f"{images:,} images"


def add_connection(parser: argparse.ArgumentParser) -> None:
    """The arguments of commands that talk to a server."""
    parser.add_argument("url", metavar="URL", help="the server's address, as in http://storage:8000")
    parser.add_argument("--token", help="the token to send (default: the variable HEADRACE_TOKEN)")
    parser.add_argument(
        "--wait", type=float, default=5.0, metavar="SECONDS", help="how long to wait for the server (default: 5)"
    )


def add_plan(parser: argparse.ArgumentParser) -> None:
    """The arguments of commands that ask for batches."""
    parser.add_argument("dataset", metavar="DATASET", help="its name; `headrace datasets URL` lists them")
    parser.add_argument("--split", help="which split; may be left out where there is only one")
    parser.add_argument(
        "--transforms",
        metavar="JSON",
        help='as in \'[{"name": "Resize", "size": [224, 224]}]\' (default: those that the server has for the dataset)',
    )
    parser.add_argument("--shuffle", action="store_true", help="in the shuffled order of the epoch")
    parser.add_argument("--seed", type=int, default=0, help="of the order and of random transforms (default: 0)")
