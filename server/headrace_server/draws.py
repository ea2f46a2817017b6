"""Random numbers for the transforms of one sample, a pure function of (seed, epoch, sample, stream).

NumPy promises no stream of its generators across versions, and building one costs more than all the draws that a sample
usually needs. This is SplitMix64: a counter in steps of GAMMA, each value through the finaliser in `mixing`.
"""

import math
import operator
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from headrace_server.mixing import FIRST, GAMMA, MASK, SECOND, absorb, checked, sequence

T = TypeVar("T")

_DOMAIN = 0xD6E8FEB86659FD93  # any constant other than the order's: draws and order never share keys
_TO_UNIT = 2.0**-53
_inverse_normal = NormalDist().inv_cdf


@lru_cache(maxsize=256)
def _epoch_key(seed: int, epoch: int) -> int:
    return absorb(absorb(_DOMAIN, checked("the seed", seed)), checked("the epoch", epoch))


class Draws:
    """The random generator of one sample in one epoch.

    The same (seed, epoch, sample, stream) gives the same numbers on every machine, whatever the batch, rank, thread or
    server; any other gives unrelated ones. `stream` tells apart several generators of one sample, one for each
    transform. Each method says how many numbers it takes where that is not one; a transform that always takes the same
    number of them keeps what follows it unchanged.

    Building one costs about a microsecond, a draw about half of one. An object belongs to one thread at a time.
    All four arguments are integers from 0 to 2**63 - 1; others raise ValueError.
    """

    __slots__ = ("_state",)

    def __init__(self, seed: int, epoch: int, sample: int, stream: int = 0) -> None:
        key = absorb(_epoch_key(seed, epoch), checked("the sample", sample))
        self._state = absorb(key, checked("the stream", stream))

    def bits(self) -> int:
        """A uniform integer in [0, 2**64)."""
        self._state = value = self._state + GAMMA & MASK
        # `mixing.mix`, written out: the call would cost half as much again.
        value = (value ^ value >> 30) * FIRST & MASK
        value = (value ^ value >> 27) * SECOND & MASK
        return value ^ value >> 31

    def random(self) -> float:
        """A uniform number in [0, 1), a multiple of 2**-53."""
        return (self.bits() >> 11) * _TO_UNIT

    def uniform(self, low: float, high: float) -> float:
        """A uniform number from `low` to `high`, finite, low <= high; `high` comes only by rounding or if equal."""
        width = high - low
        if not 0.0 <= width < math.inf:
            raise ValueError(f"uniform({low}, {high}): expected finite bounds with low <= high")
        return low + width * self.random()

    def integers(self, low: int, high: int) -> int:
        """A uniform integer in [low, high), of at most 2**64 values; ValueError if there is none.

        One multiplication and a shift (Lemire, "Fast Random Integer Generation in an Interval", 2019) without his
        rejection: probabilities differ by less than (high - low) / 2**64 of themselves.
        """
        low, high = operator.index(low), operator.index(high)
        if not low < high <= low + MASK + 1:
            raise ValueError(f"integers({low}, {high}): expected low < high, and at most 2**64 values between them")
        return low + (self.bits() * (high - low) >> 64)

    def normal(self, mean: float = 0.0, std: float = 1.0) -> float:
        """A number from the normal distribution, never beyond 8.3 standard deviations; std >= 0.

        One draw through the inverse of the distribution (Wichura, algorithm AS 241, 1988).
        """
        if not std >= 0.0:
            raise ValueError(f"normal({mean}, {std}): expected a standard deviation of at least 0")
        # 52 bits and a half: symmetrical, and never 0 or 1, where the inverse is infinite.
        return mean + std * _inverse_normal(((self.bits() >> 12) + 0.5) * 2.0**-52)

    def chance(self, p: float) -> bool:
        """True with probability p, 0 <= p <= 1: never at 0, always at 1. Takes one draw in any case."""
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"chance({p}): expected a probability from 0 to 1")
        return self.random() < p

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, each equally likely; ValueError if there are none."""
        if len(options) == 0:
            raise ValueError("choice(): expected at least one option to choose from, found none")
        return options[self.integers(0, len(options))]

    def permutation(self, n: int) -> list[int]:
        """The integers 0..n-1 in random order, each order equally likely; n >= 0. Takes n - 1 draws (0 if n < 2)."""
        if n < 0:
            raise ValueError(f"permutation({n}): expected a count of at least 0")
        order = list(range(n))
        for last in range(n - 1, 0, -1):
            other = self.bits() * (last + 1) >> 64
            order[last], order[other] = order[other], order[last]
        return order

    def array(self, shape: int | tuple[int, ...]) -> NDArray[np.float64]:
        """A new float64 array of uniform numbers in [0, 1), such as a noise image.

        Its elements, in C order, are what as many calls of `random` would have given, and the generator then stands
        behind them. About 10 ns an element.
        """
        sizes = (shape,) if isinstance(shape, int) else tuple(shape)
        if any(size < 0 for size in sizes):
            raise ValueError(f"array({shape}): expected sizes of at least 0")
        size = math.prod(map(operator.index, sizes))
        numbers = sequence(self._state, size)
        self._state = self._state + size * GAMMA & MASK
        numbers >>= np.uint64(11)
        return (numbers.astype(np.float64) * _TO_UNIT).reshape(sizes)
