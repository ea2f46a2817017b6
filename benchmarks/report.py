"""docs/benchmarks.md, written from a run's results."""

from __future__ import annotations

import importlib
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Spread
from benchmarks.floors import FLOORS
from benchmarks.tables import contenders_table, floors_table, shown_spread, table

_HEAD = Path(__file__).parent / "templates" / "head.md"


def page(results: dict[str, Any], pictures: dict[str, list[str]]) -> str:
    """The whole page; `pictures` are the names of files in docs/benchmarks, by case."""
    parts = [_head(results["settings"]), "## What was to be reached", floors_table(results), _missed(results)]
    for name, case in results["cases"].items():
        parts += _case(name, case, pictures.get(name, ()))
    parts += ["## Machine and versions", _facts(results["machine"] | results["versions"]), _ending(results)]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _head(settings: dict[str, float]) -> str:
    words = {name: f"{value:g}" for name, value in settings.items()}
    return string.Template(_HEAD.read_text()).substitute(words)


def _missed(results: dict[str, Any]) -> str:
    missed = []
    for floor in FLOORS:
        try:
            if not floor.met(floor.reached(results)):
                missed.append(str(floor.row))
        except (KeyError, IndexError, ValueError, ZeroDivisionError):
            continue
    return f"Missed here, by the median: row {', '.join(dict.fromkeys(missed))}." if missed else ""


def _case(name: str, case: dict[str, Any], pictures: Sequence[str]) -> list[str]:
    module = importlib.import_module(f"benchmarks.cases.{name}")
    parts = [f"## {module.TITLE[0].upper()}{module.TITLE[1:]}", module.__doc__ or ""]
    if "error" in case:
        parts.append(f"This case failed: {case['error']}")
    if case.get("contenders"):
        parts.append(contenders_table(case["contenders"]))
    if name in _OWN:
        parts.append(_OWN[name](case))
    parts += [f"![{module.TITLE}](benchmarks/{picture})" for picture in pictures]
    return parts


def _many(case: dict[str, Any]) -> str:
    rows = []
    for team in case["contenders"]:
        if team["turns"]:
            slowest = Spread.of([turn["slowest"] / turn["fastest"] for turn in team["turns"]])
            counts = [count for count in team["samples"] if count.get("made") and count.get("sent")]
            made = Spread.of([count["made"] / count["sent"] for count in counts]) if counts else None
            rows.append([team["label"], shown_spread(slowest, ".2f"), shown_spread(made, ".2f") if made else "unknown"])
    return table(["", "slowest trainer, of the fastest", "images decoded for each one sent"], rows)


def _large(case: dict[str, Any]) -> str:
    if "look_error" in case:
        return f"The pictures could not be compared with Pillow's: {case['look_error']}"
    found = case["difference_from_pillow"]
    return (
        f"Against Pillow's antialiased result of the whole picture, headrace's differ by {found['mean']:.2f} levels "
        f"of 255 in the mean over the pictures, {found['most']:.2f} in the worst of them."
    )


def _memory(case: dict[str, Any]) -> str:
    if "streams" not in case:
        return ""
    parts = table(["bound", "MiB"], [[name, f"{value:,.0f}"] for name, value in case["parts_mb"].items()])
    share = case["above_idle_mb"] / case["bound_mb"]
    bounds = f"`reserved` is one batch for each stream, with its encoded images. Together {case['bound_mb']:,.0f} MiB"
    found = f"the server has {case['above_idle_mb']:,.0f} MiB more than the {case['idle_mb']:,.0f} MiB of the idle one"
    return f"{parts}\n\n{bounds}; with {case['streams']} streams stalled {found}, {share:.0%} of the bounds."


def _wide(case: dict[str, Any]) -> str:
    figures = {
        "start_s": "start, s",
        "first_batch_ms": "first batch, ms",
        "resident_bytes_per_sample": "RAM, bytes a sample",
    }
    rows = [
        [label, shown_spread(Spread.of([found[key] for found in case["rounds"]]), ",.3g")]
        for key, label in figures.items()
        if case["rounds"]
    ]
    size = f"{case['samples']:,} samples; their index takes {case['index_bytes_per_sample']:.1f} bytes a sample. "
    ram = "RAM is what the server has beyond one of a small folder, mapped files included."
    return f"{size}{ram}\n\n{table(['', ''], rows)}"


def _lock(case: dict[str, Any]) -> str:
    if "rounds" not in case:
        return f"How long the lock was held could not be seen: {case['held_error']}."
    held = Spread.of([found["held_us"] for found in case["rounds"]])
    share = Spread.of([100 * found["held_share"] for found in case["rounds"]])
    return (
        f"Under the lock the server was {shown_spread(held, '.1f')} us for each image, "
        f"{shown_spread(share, '.0f')} % of the time."
    )


_OWN: dict[str, Callable[[dict[str, Any]], str]] = {
    "many": _many,
    "large": _large,
    "memory": _memory,
    "wide": _wide,
    "lock": _lock,
}


def _facts(facts: dict[str, str]) -> str:
    return table(["", ""], list(facts.items()))


def _ending(results: dict[str, Any]) -> str:
    return f"Run on {results['date']}, in {results['minutes']:.1f} minutes."
