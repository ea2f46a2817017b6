"""Results as pictures: bars of medians, with lines between what the rounds lay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks import figures
from benchmarks.figures import Figure, spread

mpl.use("Agg")
from matplotlib import pyplot

_OURS, _OTHERS, _LIMIT = "#1f6f8b", "#b8b8b8", "#e0a458"
_LIMITS = ("bare", "bare_library", "bare_sent", "raw", "full")

Picture = tuple[str, str, str, Figure, bool]
"""The file's name, the case, the title, the figure, and whether the scale is logarithmic."""

PICTURES: tuple[Picture, ...] = (
    ("jpeg-rate", "jpeg", "jpeg: images/s", figures.images_per_second, False),
    ("jpeg-cpu", "jpeg", "jpeg: trainer CPU, us per image (logarithmic)", figures.cpu_us_per_image, True),
    ("ready-rate", "ready", "ready: GB/s", figures.gigabytes_per_second, False),
    ("ready-cpu", "ready", "ready: trainer CPU, s per GB", figures.cpu_s_per_gigabyte, False),
    ("slow-rate", "slow", "slow storage, 100 ms a read: images/s (logarithmic)", figures.images_per_second, True),
    ("large-rate", "large", "large: images/s", figures.images_per_second, False),
    ("many-rate", "many", "many: images/s of all trainers together", figures.images_per_second, False),
    ("cache-rate", "cache", "cache: images/s in each epoch", figures.images_per_second, False),
)


def draw(results: dict[str, Any], folder: Path) -> dict[str, list[str]]:
    """Writes the pictures that the run has results for; the names of the files, by case."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, list[str]] = {}
    for name, case, title, figure, logarithmic in PICTURES:
        found = results["cases"].get(case, {}).get("contenders", ())
        shown = [contender for contender in found if contender["turns"]]
        if shown:
            _bars(folder / f"{name}.svg", title, shown, figure, logarithmic)
            drawn.setdefault(case, []).append(f"{name}.svg")
    return drawn


def _bars(path: Path, title: str, contenders: Sequence[dict[str, Any]], figure: Figure, logarithmic: bool) -> None:
    spreads = [spread(contender["turns"], figure) for contender in contenders]
    medians = [found.median for found in spreads]
    errors = [[s.median - s.low for s in spreads], [s.high - s.median for s in spreads]]
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": path.stem, "font.size": 9}
    with mpl.rc_context(settings):
        drawing, axes = pyplot.subplots(figsize=(7.5, 0.7 + 0.3 * len(contenders)), layout="constrained")
        bars = axes.barh(
            [contender["label"] for contender in contenders],
            medians,
            xerr=errors,
            color=[_color(contender) for contender in contenders],
            error_kw={"linewidth": 1, "capsize": 2},
        )
        axes.bar_label(bars, [_short(value) for value in medians], padding=6)
        axes.invert_yaxis()
        if logarithmic:
            axes.set_xscale("log")
        axes.margins(x=0.12)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(title, loc="left", fontsize=10)
        drawing.savefig(path, metadata={"Date": None, "Creator": None})
        pyplot.close(drawing)


def _color(contender: dict[str, Any]) -> str:
    if contender["name"] in _LIMITS:
        return _LIMIT
    peers = ("tf_", "generator", "torch", "webdataset")
    return _OTHERS if contender["name"].startswith(peers) else _OURS


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
