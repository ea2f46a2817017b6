"""The order of the samples in an epoch: a keyed permutation of 0..count-1 that nobody has to store.

An order is a pure function of (count, shuffle, seed, epoch), the same on every server. Small datasets are sorted by a
keyed hash. Large ones go through a Feistel network (Luby and Rackoff, "How to Construct Pseudorandom Permutations",
1988) whose halves are two digits with a product of sizes just above the count, and what falls outside goes through it
again until it is inside (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002, methods 2 and 3).
"""

import math
import threading
from functools import lru_cache, partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headrace_server.mixing import absorb, checked, mix_array, sequence

SORTED_UP_TO = 65_536  # sorting these takes some 5 ms, once, and their order 128 KiB

_DOMAIN = 0x8EBC6AF09C88C6E3  # any constant other than the draws'
_ROUNDS = 10
# NumPy's calls cost the same for 1 position as for hundreds (some 80 us in all), so positions are mapped in aligned
# blocks. Eight are kept, for trainers that stand at different places.
_BLOCK = 1024
_BLOCKS_KEPT = 8


class Order(Protocol):
    """The order of one epoch."""

    count: int

    def samples(self, start: int, stop: int) -> NDArray[np.int64]:
        """The ids of the samples at positions [start, stop), a new array of shape (stop - start,).

        Raises ValueError unless 0 <= start <= stop <= count. May be called by several threads at once.
        """
        ...


def epoch_order(count: int, *, shuffle: bool, seed: int, epoch: int) -> Order:
    """The order of `count` samples in an epoch: the index's own, or a permutation keyed by seed and epoch.

    Count, seed and epoch are integers from 0 to 2**63 - 1; others raise ValueError. Building an order costs
    microseconds; what it computes on first use it keeps, at most 128 KiB, so it pays to keep the object.
    """
    count = checked("the number of samples", count)
    key = absorb(absorb(_DOMAIN, checked("the seed", seed)), checked("the epoch", epoch))
    if not shuffle:
        return SequentialOrder(count)
    return SortedOrder(count, key) if count <= SORTED_UP_TO else FeistelOrder(count, key)


class SequentialOrder:
    """The order of the index: position p holds sample p."""

    def __init__(self, count: int) -> None:
        self.count = count

    def samples(self, start: int, stop: int) -> NDArray[np.int64]:
        """See `Order.samples`."""
        _check_slice(start, stop, self.count)
        return np.arange(start, stop, dtype=np.int64)


class SortedOrder:
    """Samples sorted by a keyed hash. For up to 65,536 of them."""

    def __init__(self, count: int, key: int) -> None:
        if count > SORTED_UP_TO:
            raise ValueError(f"{count} samples are too many to sort, expected at most {SORTED_UP_TO}")
        self.count = count
        self._key = key
        self._order: NDArray[np.uint16] | None = None
        self._lock = threading.Lock()

    def samples(self, start: int, stop: int) -> NDArray[np.int64]:
        """See `Order.samples`."""
        _check_slice(start, stop, self.count)
        with self._lock:
            if self._order is None:
                self._order = np.argsort(sequence(self._key, self.count), kind="stable").astype(np.uint16)
        return self._order[start:stop].astype(np.int64)


class FeistelOrder:
    """Positions encrypted by a Feistel network, some 0.2 us each in slices that follow one another. For any count."""

    def __init__(self, count: int, key: int, rounds: int = _ROUNDS) -> None:
        self.count = count
        # The cache holds no reference to this object: a cycle would keep its blocks until the collector runs.
        self._block = lru_cache(_BLOCKS_KEPT)(partial(_permuted_block, count, sequence(key, rounds)))
        self._lock = threading.Lock()

    def samples(self, start: int, stop: int) -> NDArray[np.int64]:
        """See `Order.samples`."""
        _check_slice(start, stop, self.count)
        samples = np.empty(stop - start, np.int64)
        for base in range(start - start % _BLOCK, stop, _BLOCK):
            with self._lock:  # so that trainers side by side wait for a block rather than each compute it
                block = self._block(base)
            first, last = max(start, base), min(stop, base + _BLOCK)
            samples[first - start : last - start] = block[first - base : last - base]
        return samples


def _check_slice(start: int, stop: int, count: int) -> None:
    if start < 0:
        raise ValueError(f"start is {start}, expected at least 0")
    if stop < start:
        raise ValueError(f"stop is {stop}, expected at least start, {start}")
    if stop > count:
        raise ValueError(f"stop is {stop}, expected at most the number of samples, {count}")


def _permuted_block(count: int, round_keys: NDArray[np.uint64], base: int) -> NDArray[np.uint64]:
    """The samples at positions [base, base + _BLOCK), as far as there are."""
    high_size = math.isqrt(count - 1) + 1
    low_size = -(-count // high_size)  # the domain exceeds the count by less than its root: hardly anything walks
    values = np.arange(base, min(base + _BLOCK, count), dtype=np.uint64)
    values = _encrypt(values, high_size, low_size, round_keys)
    bound = np.uint64(count)
    outside = np.flatnonzero(values >= bound)
    while outside.size:
        walked = _encrypt(values[outside], high_size, low_size, round_keys)
        values[outside] = walked
        outside = outside[walked >= bound]
    return values


def _encrypt(
    values: NDArray[np.uint64], high_size: int, low_size: int, round_keys: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """A permutation of 0..high_size*low_size-1, element by element; both sizes from 1 to 2**32.

    A value is a pair of digits; each round shifts one digit, round its range, by a hash of the other.
    """
    high, low = np.divmod(values, np.uint64(low_size))
    for number, key in enumerate(round_keys):
        target, source, size = (high, low, high_size) if number % 2 == 0 else (low, high, low_size)
        width = size.bit_length()
        # The hash as a fraction of 2**64, times the size: its own low bits give way so that the product fits.
        shift = mix_array(source + key)
        shift >>= np.uint64(width)
        shift *= np.uint64(size)
        shift >>= np.uint64(64 - width)
        target += shift
        # The sum modulo the size: where it is below the size, the subtraction wraps to a huge number.
        np.minimum(target, np.subtract(target, np.uint64(size), out=shift), out=target)
    high *= np.uint64(low_size)
    high += low
    return high
