"""Results as tables of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks import figures
from benchmarks.figures import Figure, Spread, spread
from benchmarks.floors import FLOORS, Floor


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_line(head), _line(["---"] * len(head))]
    return "\n".join([*lines, *map(_line, rows)])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def floors_table(results: dict[str, Any]) -> str:
    """Every floor, and what this run reached."""
    return table(["row", "figure", "floor", "this run", ""], [_floor(floor, results) for floor in FLOORS])


def _floor(floor: Floor, results: dict[str, Any]) -> list[str]:
    cells = [str(floor.row), floor.what, floor.wanted]
    try:
        found = floor.reached(results)
    except (KeyError, IndexError, ValueError, ZeroDivisionError):
        return [*cells, "not shown by this run", ""]
    return [*cells, floor.shown(found), "reached" if floor.met(found) else "**missed**"]


_COLUMNS: tuple[tuple[str, Figure, str, bool], ...] = (
    ("images/s", figures.images_per_second, ",.0f", True),
    ("GB/s", figures.gigabytes_per_second, ".2f", False),
    ("trainer CPU, us/image", figures.cpu_us_per_image, ",.1f", True),
    ("trainer CPU, s/GB", figures.cpu_s_per_gigabyte, ".3f", False),
    ("server CPU, us/image", figures.server_cpu_us_per_image, ",.0f", False),
)
"""Each figure's name, how it is reckoned and written, and whether its spread is shown."""


def contenders_table(contenders: Sequence[dict[str, Any]]) -> str:
    """Each contender's figures: the median, and between what the rounds lay."""
    head = ["", *(column[0] for column in _COLUMNS), "first batch, ms"]
    return table(head, [_contender(found) for found in contenders])


def _contender(found: dict[str, Any]) -> list[str]:
    if not found["turns"]:
        return [found["label"], f"failed: {found.get('error', 'out of time')}", *[""] * len(_COLUMNS)]
    cells = [found["label"]]
    for _, figure, form, with_spread in _COLUMNS:
        try:
            over = spread(found["turns"], figure)
            cells.append(shown_spread(over, form) if with_spread else format(over.median, form))
        except KeyError:  # it has no server
            cells.append("")
    first = found.get("first_batch_ms")
    return [*cells, "" if first is None else f"{first:,.0f}"]


def shown_spread(found: Spread, form: str) -> str:
    """The median and, where they differ, the least and the most, each written as `form` says."""
    median, low, high = (format(value, form) for value in found)
    return median if low == high else f"{median} ({low} to {high})"
