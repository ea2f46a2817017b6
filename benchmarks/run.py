"""The run: every case in turn, within the time given, and the pages that are written from it."""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT
from benchmarks.stage import Stage
from benchmarks.work import Work

CASES = ("jpeg", "ready", "moving", "slow", "large", "many", "cache", "wide", "memory", "lock")
_BUILD = ROOT / "build" / "benchmarks"


def main(words: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(words)
    importlib.import_module("benchmarks.plots")  # what is missing for the pages shows before the run
    if arguments.pages:
        output = arguments.output or ROOT / "docs"
        write(json.loads((output / "benchmarks" / "results.json").read_text()), output)
        return 0
    # However this process ends, its children end first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    began = time.monotonic()
    seconds, rounds, scale = (1.0, 1, 0.1) if arguments.quick else (arguments.seconds, arguments.rounds, 1.0)
    stage = Stage(
        data=_BUILD / "data",
        seconds=seconds,
        warm=min(1.0, seconds / 2),
        rounds=rounds,
        deadline=began + 60 * arguments.minutes,
        scale=scale,
    )
    only = arguments.only or CASES
    results = _results(stage, [name for name in CASES if name in only])
    results["minutes"] = (time.monotonic() - began) / 60
    whole = not (arguments.quick or arguments.only)
    output = arguments.output or (ROOT / "docs" if whole else _BUILD)
    write(results, output)
    stage.say(f"written: {output / 'benchmarks.md'}")
    return 0


def write(results: dict[str, Any], output: Path) -> None:
    """The results as JSON, and the pages and pictures made from them."""
    (output / "benchmarks").mkdir(parents=True, exist_ok=True)
    (output / "benchmarks" / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    from benchmarks import moving_page, plots, report

    pictures = plots.draw(results, output / "benchmarks")
    (output / "benchmarks.md").write_text(report.page(results, pictures))
    try:
        (output / "moving-from-tf-data.md").write_text(moving_page.page(results))
    except KeyError as error:
        print(f"moving-from-tf-data.md is not written: this run has no figures for {error}", flush=True)


def _results(stage: Stage, names: Sequence[str]) -> dict[str, Any]:
    from benchmarks.machine import machine, versions

    results: dict[str, Any] = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "settings": {"seconds": stage.seconds, "warm": stage.warm, "rounds": stage.rounds, "scale": stage.scale},
        "machine": machine(),
        "versions": versions(),
        "cases": {},
    }
    for number, name in enumerate(names):
        stage.say(f"case {number + 1} of {len(names)}: {name}")
        results["cases"][name] = _case(name, stage)
    return results


def _case(name: str, stage: Stage) -> dict[str, Any]:
    """A case's results; one that fails says so, and does not end the run."""
    if not stage.time_left:
        return {"error": "the run was out of time"}
    case = importlib.import_module(f"benchmarks.cases.{name}")
    try:
        return dict(case.run(stage, Work(stage)))
    except Exception as error:  # noqa: BLE001 - it is the case's result
        stage.say(f"{name} FAILED: {type(error).__name__}: {error}")
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0]}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="headrace beside its peers and its limits"
    )
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="of each turn, after a warm-up of at most one (default: 3)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender (default: 3)")
    parser.add_argument("--minutes", type=float, default=20.0, help="no turn begins after these (default: 20)")
    parser.add_argument("--quick", action="store_true", help="less of everything, in minutes; to see that it works")
    parser.add_argument("--pages", action="store_true", help="only write the pages again, from results.json")
    parser.add_argument("--output", type=Path, help="default: docs, but build/benchmarks with --quick and --only")
    return parser
