"""`headrace datasets`: what a server has."""

from __future__ import annotations

import argparse
import json

from headrace.commands.base import add_connection
from headrace.commands.connection import connected


class Datasets:
    summary = "list what a server serves: datasets, splits, sizes, classes"
    examples = """\
  headrace datasets http://storage:8000
  headrace datasets http://storage:8000 --json | jq '.[].name'
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_connection(parser)
        parser.add_argument("--json", action="store_true", help="everything, for programs")

    def run(self, arguments: argparse.Namespace) -> int:
        with connected(arguments) as client:
            datasets = client.datasets()
        if arguments.json:
            print(json.dumps(datasets, indent=2))
            return 0
        for dataset in datasets:
            splits = ", ".join(f"{name} {split['samples']:,}" for name, split in dataset["splits"].items())
            print(f"{dataset['name']}: {splits}")
            print(f"  classes: {_classes(dataset['classes'])}")
            print(f"  transforms: {json.dumps(dataset['transforms'])}")
            for reason, count in dataset["skipped"].items():
                print(f"  left out: {count:,} ({reason})")
        return 0


def _classes(classes: list[str] | None) -> str:
    if classes is None:
        return "none; the images are not in class folders"
    shown = ", ".join(classes[:10])
    return shown if len(classes) <= 10 else f"{shown}, ... {len(classes):,} in all"
