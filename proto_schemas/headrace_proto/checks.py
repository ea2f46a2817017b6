"""Checks of single fields, shared by every message: each returns the value in its normal form or raises ValueError."""

from __future__ import annotations

import math
import operator
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

MAX_SIDE = 16_384
"""Pixels; no transform makes an image with a longer side."""
MAX_INTEGER = 2**63 - 1
"""The largest seed, epoch or position: what a signed 64-bit integer holds, so that any language can."""
MAX_DEPTH = 16
"""Levels that the options of a custom transform may be nested."""

_REPR = reprlib.Repr()  # bounded in width and depth, where repr() of hostile data is neither
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 80


def found(value: object) -> str:
    """The value as an error shows it: short, and on one line."""
    try:
        text = " ".join(_REPR.repr(value).split())
    except ValueError:  # an integer of more digits than Python writes out
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def plain(value: Any) -> Any:
    """Python's own number or list for a NumPy scalar, array or the like; anything else as it is."""
    convert = None if isinstance(value, type) else getattr(value, "tolist", None)
    return value if convert is None else convert()


def is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview))


def integer(where: str, value: Any, low: int, high: int = MAX_INTEGER) -> int:
    if type(value) is int and low <= value <= high:  # nearly always: every batch's header has a dozen
        return value
    value = plain(value)
    try:
        result = operator.index(value)
    except TypeError:
        result = low - 1
    if isinstance(value, bool) or not low <= result <= high:
        raise ValueError(f"{where} must be a whole number from {low} to {high}, found {found(value)}")
    return int(result)


def number(where: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    value = plain(value)
    if isinstance(value, (bool, str, bytes, bytearray)):
        raise ValueError(f"{where} must be a number, found {found(value)}")
    try:
        result = float(value) + 0.0  # -0.0 becomes 0.0: one form of one value
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{where} must be a number, found {found(value)}") from None
    if not math.isfinite(result) or not low <= result <= high:
        raise ValueError(f"{where} must be a finite number from {low:g} to {high:g}, found {found(value)}")
    return result


def boolean(where: str, value: Any) -> bool:
    value = plain(value)
    if not isinstance(value, bool):
        raise ValueError(f"{where} must be true or false, found {found(value)}")
    return value


def string(where: str, value: Any) -> str:
    """A string that UTF-8 can hold; JSON lets halves of surrogate pairs through."""
    if not isinstance(value, str):
        raise ValueError(f"{where} must be a string, found {found(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where} must be a string of whole characters, found {found(value)}") from None
    return value


def text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{where} must be a non-empty string, found {found(value)}")
    return string(where, value)


def one_of(where: str, value: Any, choices: Sequence[Any]) -> Any:
    """The choice itself, not what is merely equal to it (1.0 to 1, a dtype object to its name)."""
    value = plain(value)
    for choice in choices:
        if isinstance(value, type(choice)) and not isinstance(value, bool) and value == choice:
            return choice
    raise ValueError(f"{where} must be one of {', '.join(map(repr, choices))}, found {found(value)}")


def sequence(where: str, value: Any, lengths: Sequence[int]) -> tuple[Any, ...]:
    value = plain(value)
    if not is_list(value):
        raise ValueError(f"{where} must be a list, found {found(value)}")
    if len(value) not in lengths:
        raise ValueError(f"{where} must have {' or '.join(map(str, lengths))} elements, found {found(value)}")
    return tuple(value)


def size(where: str, value: Any) -> int | tuple[int, int]:
    """One side, or (height, width), in pixels."""
    value = plain(value)
    if not is_list(value):
        return integer(where, value, 1, MAX_SIDE)
    sides = [integer(where, side, 1, MAX_SIDE) for side in sequence(where, value, (1, 2))]
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def interval(where: str, value: Any, low: float = -math.inf, high: float = math.inf) -> tuple[float, float]:
    """(least, greatest), in order."""
    first, last = (number(where, end, low, high) for end in sequence(where, value, (2,)))
    if first > last:
        raise ValueError(f"{where} must be [least, greatest], found {found(value)}")
    return first, last


def json_data(where: str, value: Any, depth: int = MAX_DEPTH) -> Any:
    """Numbers, strings, booleans, None, and lists and string-keyed maps of these, as JSON gives them back."""
    value = plain(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return string(where, value)
    if isinstance(value, int):
        return integer(where, value, -MAX_INTEGER)
    if isinstance(value, float):
        return number(where, value)
    if depth == 0 and (is_list(value) or isinstance(value, Mapping)):
        raise ValueError(f"{where} may be nested {MAX_DEPTH} levels deep, found more")
    if is_list(value):
        return [json_data(where, item, depth - 1) for item in value]
    if isinstance(value, Mapping):
        return {string(f"a key in {where}", key): json_data(where, item, depth - 1) for key, item in value.items()}
    raise ValueError(f"{where} must be what JSON can hold, found {found(value)}")
