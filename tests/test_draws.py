"""Draws are uniform, unrelated between samples, epochs, seeds and streams, and the same for ever.

All keys are fixed, so a test that passes once passes always; bounds are those of true randomness at 1 in 10,000.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2, kstest, norm  # type: ignore[import-untyped]

from headrace_server.draws import Draws
from headrace_server.mixing import mix, sequence

LARGEST = 2**63 - 1
RARE = 1e-4
words = st.integers(0, LARGEST)
finite = st.floats(-1e300, 1e300)

# Each turns a number into a generator that differs from the next number's in one word of the key alone.
NEIGHBOURS: dict[str, Callable[[int], Draws]] = {
    "seed": lambda number: Draws(number, 3, 5),
    "epoch": lambda number: Draws(3, number, 5),
    "sample": lambda number: Draws(3, 5, number),
    "stream": lambda number: Draws(3, 5, 7, number),
}
neighbours = pytest.mark.parametrize("generator", NEIGHBOURS.values(), ids=NEIGHBOURS.keys())


def is_even_spread(observed: NDArray[np.int64]) -> bool:
    """Whether counts in equally likely bins are neither too uneven nor suspiciously even."""
    expected = observed.sum() / observed.size
    statistic = float(((observed - expected) ** 2).sum() / expected)
    return bool(RARE < chi2.sf(statistic, observed.size - 1) < 1 - RARE)


def is_uniform(values: NDArray[np.float64]) -> bool:
    """Whether numbers in [0, 1) are as evenly distributed as uniform ones, coarsely and finely."""
    coarse = np.bincount((values * 256).astype(np.int64), minlength=256)
    fine = np.bincount((values * 2**44 % 256).astype(np.int64), minlength=256)
    return is_even_spread(coarse) and is_even_spread(fine) and kstest(values, "uniform").pvalue > RARE


# ---------------------------------------------------------------------------------------------- golden


def test_the_numbers_are_those_published_for_splitmix64() -> None:
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert sequence(1234567, 5).tolist() == expected


def test_the_numbers_never_change() -> None:
    draws = Draws(7, 3, 11, 2)
    assert [draws.bits() for _ in range(3)] == [0x5FA22DCE371BCE84, 0xE1592067DCE1886B, 0xD8919A13EEFD1F6F]


def test_what_is_made_of_the_numbers_never_changes() -> None:
    draws = Draws(7, 3, 11, 2)
    assert draws.random() == 0.3735684040503734
    assert draws.uniform(-1, 3) == 2.5210648550305668
    assert draws.integers(-5, 1000) == 845
    assert draws.normal() == pytest.approx(0.7430801793032672, rel=1e-15)
    assert draws.normal(10, 2) == pytest.approx(9.137542767789043, rel=1e-15)
    assert draws.chance(0.5) is False
    assert draws.choice("abcdef") == "d"
    assert draws.permutation(8) == [6, 5, 3, 4, 7, 0, 1, 2]
    assert draws.array((2, 2)).tolist() == [
        [0.9497808590043451, 0.3988772089522803],
        [0.9577488601827348, 0.6554224941282757],
    ]


# ---------------------------------------------------------------------------------------------- keys


@given(words, words, words, words)
def test_the_same_key_gives_the_same_numbers(seed: int, epoch: int, sample: int, stream: int) -> None:
    first, second = Draws(seed, epoch, sample, stream), Draws(seed, epoch, sample, stream)
    assert [first.bits() for _ in range(3)] == [second.bits() for _ in range(3)]


def test_no_two_small_keys_share_a_number() -> None:
    numbers = {Draws(*key).bits() for key in itertools.product(range(12), repeat=4)}
    assert len(numbers) == 12**4


def test_a_sample_of_the_order_serves_as_key() -> None:
    assert Draws(1, 2, np.arange(9, dtype=np.int64)[8]).bits() == Draws(1, 2, 8).bits()


@pytest.mark.parametrize("name", ["seed", "epoch", "sample", "stream"])
@pytest.mark.parametrize("value", [-1, 2**63])
def test_a_word_out_of_range_is_named(name: str, value: int) -> None:
    key = {"seed": 1, "epoch": 1, "sample": 1, "stream": 1} | {name: value}
    with pytest.raises(ValueError, match=rf"^the {name} is {value}, expected an integer from 0 to 2\*\*63 - 1$"):
        Draws(**key)


@neighbours
def test_first_numbers_of_neighbours_are_uniform(generator: Callable[[int], Draws]) -> None:
    assert is_uniform(np.array([generator(number).random() for number in range(40_000)]))


@neighbours
def test_neighbours_are_independent(generator: Callable[[int], Draws]) -> None:
    draws = [generator(number) for number in range(40_000)]
    for _ in range(3):
        first = np.array([draw.random() for draw in draws])
        pairs = (first[:-1] * 16).astype(np.int64) * 16 + (first[1:] * 16).astype(np.int64)
        assert is_even_spread(np.bincount(pairs, minlength=256))
        assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 4 / math.sqrt(first.size)


@neighbours
def test_a_sequence_is_unrelated_to_its_neighbours(generator: Callable[[int], Draws]) -> None:
    one, next_one = generator(100).array(40_000), generator(101).array(40_000)
    for lag in range(5):
        assert abs(np.corrcoef(one[lag:], next_one[: one.size - lag])[0, 1]) < 4 / math.sqrt(one.size - lag)


@neighbours
def test_any_bit_of_the_key_flips_half_of_the_bits(generator: Callable[[int], Draws]) -> None:
    for bit in range(63):
        flips = [(generator(key).bits() ^ generator(key ^ 1 << bit).bits()).bit_count() for key in range(0, 6400, 100)]
        assert abs(sum(flips) - 64 * 32) < 5 * 4 * math.sqrt(64)  # each has a standard deviation of 4


# ---------------------------------------------------------------------------------------------- numbers


def test_a_sequence_is_uniform_and_without_memory() -> None:
    draws = Draws(1, 2, 3)
    values = np.array([draws.random() for _ in range(100_000)])
    assert is_uniform(values)
    assert 0 <= values.min() < values.max() < 1
    for lag in (1, 2, 3, 64):
        assert abs(np.corrcoef(values[:-lag], values[lag:])[0, 1]) < 4 / math.sqrt(values.size - lag)


@given(words, st.lists(st.integers(0, 20), max_size=3))
def test_an_array_is_what_as_many_single_draws_would_be(sample: int, shape: list[int]) -> None:
    together, singly = Draws(1, 2, sample), Draws(1, 2, sample)
    array = together.array(tuple(shape))
    assert array.dtype == np.float64
    assert array.shape == tuple(shape)
    assert array.ravel().tolist() == [singly.random() for _ in range(math.prod(shape))]
    assert together.bits() == singly.bits()


def test_an_array_takes_a_single_size_too() -> None:
    assert Draws(1, 2, 3).array(5).shape == (5,)
    with pytest.raises(ValueError, match=r"array\(\(2, -1\)\): expected sizes of at least 0"):
        Draws(1, 2, 3).array((2, -1))


@given(words, finite, finite)
def test_uniform_stays_within_its_bounds(sample: int, a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    assert low <= Draws(1, 2, sample).uniform(low, high) <= high


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (0.0, math.inf), (math.nan, 1.0), (-math.inf, 0.0)])
def test_uniform_refuses_bounds_that_make_no_sense(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="expected finite bounds with low <= high"):
        Draws(1, 2, 3).uniform(low, high)


@given(words, st.integers(-(2**70), 2**70), st.integers(1, 2**64))
def test_integers_stay_within_their_bounds(sample: int, low: int, span: int) -> None:
    number = Draws(1, 2, sample).integers(low, low + span)
    assert type(number) is int
    assert low <= number < low + span


@pytest.mark.parametrize("span", [1, 2, 7, 100])
def test_integers_are_equally_likely(span: int) -> None:
    draws = Draws(1, 2, 3)
    observed = np.bincount([draws.integers(10, 10 + span) - 10 for _ in range(20_000)], minlength=span)
    assert observed.size == span
    assert span == 1 or is_even_spread(observed)


@pytest.mark.parametrize(("low", "high"), [(0, 0), (5, 4), (0, 2**64 + 1)])
def test_integers_refuse_bounds_that_make_no_sense(low: int, high: int) -> None:
    with pytest.raises(ValueError, match=rf"integers\({low}, {high}\): expected low < high"):
        Draws(1, 2, 3).integers(low, high)


def test_integers_refuse_fractions_rather_than_round_them() -> None:
    with pytest.raises(TypeError):
        Draws(1, 2, 3).integers(0, 2.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-3.0, 0.25)])
def test_normal_follows_the_normal_distribution(mean: float, std: float) -> None:
    draws = Draws(1, 2, 3)
    values = np.array([draws.normal(mean, std) for _ in range(40_000)])
    assert RARE < kstest(values, norm(mean, std).cdf).pvalue < 1 - RARE
    assert is_even_spread(np.bincount((norm.cdf(values, mean, std) * 64).astype(np.int64), minlength=64))


def test_normal_refuses_a_negative_deviation_and_takes_none() -> None:
    assert Draws(1, 2, 3).normal(5.0, 0.0) == 5.0
    with pytest.raises(ValueError, match="expected a standard deviation of at least 0"):
        Draws(1, 2, 3).normal(0.0, -1.0)


def test_a_chance_comes_as_often_as_it_says() -> None:
    draws = Draws(1, 2, 3)
    assert not any(draws.chance(0) for _ in range(1_000))
    assert all(draws.chance(1) for _ in range(1_000))
    for p in (0.03, 0.5, 0.9):
        hits = sum(draws.chance(p) for _ in range(20_000))
        assert abs(hits - 20_000 * p) < 4 * math.sqrt(20_000 * p * (1 - p))


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_a_chance_beyond_certainty_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="expected a probability from 0 to 1"):
        Draws(1, 2, 3).chance(p)


def test_every_choice_is_equally_likely() -> None:
    draws = Draws(1, 2, 3)
    chosen = [draws.choice(["a", "b", "c", "d", "e"]) for _ in range(20_000)]
    assert is_even_spread(np.array([chosen.count(option) for option in "abcde"]))
    with pytest.raises(ValueError, match="expected at least one option to choose from, found none"):
        draws.choice([])


@given(words, st.integers(0, 100))
def test_a_permutation_holds_every_number_once(sample: int, n: int) -> None:
    assert sorted(Draws(1, 2, sample).permutation(n)) == list(range(n))


def test_every_permutation_is_equally_likely() -> None:
    index = {permutation: number for number, permutation in enumerate(itertools.permutations(range(4)))}
    observed = np.bincount([index[tuple(Draws(1, 2, sample).permutation(4))] for sample in range(12_000)])
    assert is_even_spread(observed)
    with pytest.raises(ValueError, match=r"permutation\(-1\): expected a count of at least 0"):
        Draws(1, 2, 3).permutation(-1)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_mixing_never_merges_two_numbers(a: int, b: int) -> None:
    assert (mix(a) == mix(b)) == (a == b)
