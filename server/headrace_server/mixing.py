"""Keyed mixing of 64-bit integers: the one source of randomness of the server, the same for ever and everywhere.

The finaliser is variant 13 of David Stafford, "Better Bit Mixing" (2011), as used in SplitMix64 (Steele, Lea, Flood,
"Fast Splittable Pseudorandom Number Generators", OOPSLA 2014). It is a bijection of the 64-bit integers. Nothing here
is meant to withstand an adversary.
"""

import operator

import numpy as np
from numpy.typing import NDArray

MASK = 2**64 - 1
GAMMA = 0x9E3779B97F4A7C15  # odd, 2**64 over the golden ratio: multiples of it spread evenly
FIRST = 0xBF58476D1CE4E5B9
SECOND = 0x94D049BB133111EB
LARGEST = 2**63 - 1

_U30, _U27, _U31 = np.uint64(30), np.uint64(27), np.uint64(31)
_FIRST, _SECOND, _GAMMA = np.uint64(FIRST), np.uint64(SECOND), np.uint64(GAMMA)


def checked(name: str, value: int) -> int:
    """The value as a plain int; a ValueError names it if it is not in 0..2**63-1."""
    number = operator.index(value)
    if not 0 <= number <= LARGEST:
        raise ValueError(f"{name} is {number}, expected an integer from 0 to 2**63 - 1")
    return number


def mix(value: int) -> int:
    """One 64-bit integer mixed into another, one to one. The value must lie in 0..2**64-1."""
    value = (value ^ value >> 30) * FIRST & MASK
    value = (value ^ value >> 27) * SECOND & MASK
    return value ^ value >> 31


def mix_array(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """`mix` of each element, in place; returns the same array."""
    shifted = values >> _U30
    values ^= shifted
    values *= _FIRST
    np.right_shift(values, _U27, out=shifted)
    values ^= shifted
    values *= _SECOND
    np.right_shift(values, _U31, out=shifted)
    values ^= shifted
    return values


def absorb(key: int, word: int) -> int:
    """A key that depends on all of an earlier key and of one more word, so that (1, 2) and (2, 1) lie far apart."""
    return mix((key ^ word) + GAMMA & MASK)


def sequence(state: int, size: int) -> NDArray[np.uint64]:
    """The `size` numbers that follow a state: element k is `mix(state + (k + 1) * GAMMA)`. No two are equal."""
    numbers = np.arange(1, size + 1, dtype=np.uint64)
    numbers *= _GAMMA
    numbers += np.uint64(state)
    return mix_array(numbers)
