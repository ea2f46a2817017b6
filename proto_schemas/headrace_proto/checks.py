"""Checks of single fields, shared by every message: each returns the value in its normal form or raises ValueError."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

MAX_SIDE = 16_384
"""Pixels; no transform makes an image with a longer side."""
MAX_INTEGER = 2**63 - 1
"""The largest seed, epoch or position: what a signed 64-bit integer holds, so that any language can."""


def found(value: object) -> str:
    """The value as an error shows it: short, and on one line."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def integer(where: str, value: Any, low: int, high: int = MAX_INTEGER) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or not low <= value.__index__() <= high:
        raise ValueError(f"{where} must be a whole number from {low} to {high}, found {found(value)}")
    return int(value.__index__())


def number(where: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    if isinstance(value, (bool, str, bytes)) or not hasattr(value, "__float__"):
        raise ValueError(f"{where} must be a number, found {found(value)}")
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{where} must be a number, found {found(value)}") from None
    if not math.isfinite(result) or not low <= result <= high:
        raise ValueError(f"{where} must be a finite number from {low:g} to {high:g}, found {found(value)}")
    return result


def boolean(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{where} must be true or false, found {found(value)}")
    return value


def text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{where} must be a non-empty string, found {found(value)}")
    return value


def one_of(where: str, value: Any, choices: Sequence[Any]) -> Any:
    if isinstance(value, bool) or value not in choices:
        raise ValueError(f"{where} must be one of {', '.join(map(repr, choices))}, found {found(value)}")
    return value


def sequence(where: str, value: Any, lengths: Sequence[int]) -> tuple[Any, ...]:
    if isinstance(value, (str, bytes, dict)) or not hasattr(value, "__len__") or not hasattr(value, "__iter__"):
        raise ValueError(f"{where} must be a list, found {found(value)}")
    if len(value) not in lengths:
        raise ValueError(f"{where} must have {' or '.join(map(str, lengths))} elements, found {found(value)}")
    return tuple(value)


def size(where: str, value: Any) -> int | tuple[int, int]:
    """One side, or (height, width), in pixels."""
    if hasattr(value, "__index__"):
        return integer(where, value, 1, MAX_SIDE)
    sides = [integer(where, side, 1, MAX_SIDE) for side in sequence(where, value, (1, 2))]
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def interval(where: str, value: Any, low: float = -math.inf, high: float = math.inf) -> tuple[float, float]:
    """(least, greatest), in order."""
    first, last = (number(where, end, low, high) for end in sequence(where, value, (2,)))
    if first > last:
        raise ValueError(f"{where} must be [least, greatest], found {found(value)}")
    return first, last
