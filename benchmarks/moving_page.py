"""docs/moving-from-tf-data.md: the code of `benchmarks.steps` as it was run, and what each step cost."""

from __future__ import annotations

import ast
import string
from pathlib import Path
from typing import Any

from benchmarks import figures
from benchmarks.figures import ratio, spread, turns_of
from benchmarks.tables import shown_spread, table

_TEMPLATE = Path(__file__).parent / "templates" / "moving.md"
_STEPS = Path(__file__).parent / "steps.py"
_LABELS = {
    "in_memory": "1. `from_tensor_slices` in memory",
    "paths_and_map": "2. `from_tensor_slices` of paths, `map`",
    "generator": "3. `from_generator`",
    "generator_with_thread": "4. with a preloading thread",
    "from_headrace": "5. headrace, `to_tf`",
}


def page(results: dict[str, Any]) -> str:
    """The page. Raises KeyError where a step has no figures in this run."""
    turns = {name: turns_of(results, "moving", name) for name in _LABELS}
    code = _functions(_STEPS.read_text())
    words: dict[str, str] = {"cores": results["machine"]["cores"], "summary": _summary(turns)}
    for name, found in turns.items():
        words[name] = code[name]
        words[f"{name}_rate"] = f"{spread(found, figures.images_per_second).median:,.0f}"
        words[f"{name}_cpu"] = f"{spread(found, figures.cpu_us_per_image).median:,.0f}"
    ours = turns["from_headrace"]
    rate = ratio(ours, turns["generator"], figures.images_per_second).median
    cpu = ratio(turns["paths_and_map"], ours, figures.cpu_us_per_image).median
    words["gain"] = f", {rate:.1f} times the generator's"
    words["saving"] = f", {cpu:.0f} times less than decoding there takes"
    words["helpers"] = _helpers(_STEPS.read_text())
    words["slow_generator"] = _slow(results, "generator", "With 100 ms of latency a read it is {} images/s.")
    words["slow_thread"] = _slow(
        results, "generator_thread", "And it still reads one image at a time: with 100 ms a read, {}."
    )
    words["slow_headrace"] = _slow(
        results,
        "headrace_tf_slow",
        "With 100 ms of latency a read it is {} images/s, since the server has hundreds of reads in flight.",
    )
    return string.Template(_TEMPLATE.read_text()).substitute(words)


def _summary(turns: dict[str, list[figures.Turn]]) -> str:
    rows = [
        [
            _LABELS[name],
            shown_spread(spread(found, figures.images_per_second), ",.0f"),
            shown_spread(spread(found, figures.cpu_us_per_image), ",.0f"),
        ]
        for name, found in turns.items()
    ]
    return table(["step", "images/s", "trainer CPU, us/image"], rows)


def _functions(source: str) -> dict[str, str]:
    """Each function's code, by name; read and not imported, since TensorFlow takes seconds."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return {node.name: ast.get_source_segment(source, node) or "" for node in functions}


def _helpers(source: str) -> str:
    """What stands in the module before the first step: imports and helpers."""
    before = source.partition("def in_memory")[0]
    return before.partition("from __future__ import annotations\n")[2].strip()


def _slow(results: dict[str, Any], contender: str, sentence: str) -> str:
    """A sentence on slow storage, or none where the run has no figures for it."""
    try:
        found = spread(turns_of(results, "slow", contender), figures.images_per_second)
    except KeyError:
        return ""
    return sentence.format(f"{found.median:,.0f}")
