"""The arithmetic of a run: what one turn gives, and medians, spreads and ratios over the rounds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Turn = dict[str, float]
"""One turn of a contender: images, bytes, seconds, cpu_seconds of the trainer, server_cpu_seconds where it has one."""


class Spread(NamedTuple):
    """The median over the rounds, and between what they lay."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Raises ValueError where there are no values."""
        if not values:
            raise ValueError("a spread needs at least one value, found none")
        return cls(statistics.median(values), min(values), max(values))


def images_per_second(turn: Turn) -> float:
    return turn["images"] / turn["seconds"]


def gigabytes_per_second(turn: Turn) -> float:
    return turn["bytes"] / 1e9 / turn["seconds"]


def cpu_us_per_image(turn: Turn) -> float:
    """Of the trainer."""
    return turn["cpu_seconds"] * 1e6 / turn["images"]


def cpu_s_per_gigabyte(turn: Turn) -> float:
    """Of the trainer."""
    return turn["cpu_seconds"] * 1e9 / turn["bytes"]


def server_cpu_us_per_image(turn: Turn) -> float:
    return turn["server_cpu_seconds"] * 1e6 / turn["images"]


Figure = Callable[[Turn], float]


def spread(turns: Sequence[Turn], figure: Figure) -> Spread:
    """A figure over a contender's rounds."""
    return Spread.of([figure(turn) for turn in turns])


def ratio(turns: Sequence[Turn], others: Sequence[Turn], figure: Figure) -> Spread:
    """A figure against another contender's, round by round, so that what slowed a whole round down cancels out."""
    return Spread.of([figure(turn) / figure(other) for turn, other in zip(turns, others, strict=False)])


def together(turns: Sequence[Turn]) -> Turn:
    """Trainers that ran at the same time as one: their rates add up, and so do their costs."""
    seconds = statistics.mean(turn["seconds"] for turn in turns)
    whole: dict[str, float] = {"seconds": seconds}
    for key in ("images", "bytes", "cpu_seconds"):
        whole[key] = sum(turn[key] * seconds / turn["seconds"] for turn in turns)
    # Each of them read the same server's clock.
    servers = [turn["server_cpu_seconds"] * seconds / turn["seconds"] for turn in turns if "server_cpu_seconds" in turn]
    if servers:
        whole["server_cpu_seconds"] = statistics.mean(servers)
    return whole


def turns_of(results: dict[str, Any], case: str, contender: str) -> list[Turn]:
    """The turns in a run's results; raises KeyError where the case or the contender is missing or failed."""
    for found in results["cases"][case].get("contenders", ()):
        if found["name"] == contender:
            if not found["turns"]:
                raise KeyError(f"{contender} has no turns: {found.get('error', 'out of time')}")
            return list(found["turns"])
    raise KeyError(contender)
