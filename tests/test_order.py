"""Orders are permutations, the same however they are cut, and statistically indistinguishable from a shuffle.

All keys are fixed, so a test that passes once passes always; the bounds are those of a true shuffle at 4 standard
deviations or one in ten thousand.
"""

import gc
import itertools
import math
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2  # type: ignore[import-untyped]

from headrace_server.mixing import absorb
from headrace_server.order import SORTED_UP_TO, FeistelOrder, Order, SequentialOrder, SortedOrder, epoch_order

LARGEST = 2**63 - 1
RARE = 1e-4
Build = Callable[[int, int], Order]

shuffled_kinds = pytest.mark.parametrize("build", [SortedOrder, FeistelOrder])
all_kinds = pytest.mark.parametrize("build", [SortedOrder, FeistelOrder, lambda count, key: SequentialOrder(count)])
counts = st.one_of(st.integers(1, 2_000), st.integers(1, 10**9), st.integers(1, LARGEST))
keys = st.integers(0, LARGEST)


def key_of(number: int) -> int:
    """A key as an epoch would have: consecutive ones lie far apart."""
    return absorb(0, number)


def whole(order: Order) -> NDArray[np.int64]:
    return order.samples(0, order.count)


def shuffled(count: int, seed: int = 0, epoch: int = 0) -> NDArray[np.int64]:
    return whole(epoch_order(count, shuffle=True, seed=seed, epoch=epoch))


def correlation(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """Pearson's, which is Spearman's where the values are ranks themselves, as those of a permutation are."""
    return float(np.corrcoef(a.astype(np.float64), b.astype(np.float64))[0, 1])


def is_even_spread(observed: NDArray[np.int64]) -> bool:
    """Whether counts in equally likely bins are neither too uneven nor suspiciously even."""
    expected = observed.sum() / observed.size
    statistic = float(((observed - expected) ** 2).sum() / expected)
    return bool(RARE < chi2.sf(statistic, observed.size - 1) < 1 - RARE)


# ---------------------------------------------------------------------------------------------- permutations


@shuffled_kinds
def test_every_sample_comes_once_for_all_small_counts(build: Build) -> None:
    for count in range(301):
        assert np.array_equal(np.sort(whole(build(count, key_of(count)))), np.arange(count))


@pytest.mark.parametrize("count", [1_000, 65_535, 65_536, 65_537, 100_003, 131_072, 317**2, 317**2 + 1])
def test_every_sample_comes_once_for_larger_counts(count: int) -> None:
    samples = shuffled(count)
    assert samples.dtype == np.int64
    assert np.array_equal(np.sort(samples), np.arange(count))


@given(counts, keys, st.data())
@settings(max_examples=60, deadline=None)
def test_windows_of_huge_orders_hold_distinct_samples_in_range(count: int, key: int, data: st.DataObject) -> None:
    order = FeistelOrder(count, key)
    windows: list[tuple[int, int]] = []
    for begin in sorted({0, data.draw(st.integers(0, count - 1)), max(0, count - 1_500)}):
        start = max(begin, windows[-1][1]) if windows else begin
        windows.append((start, min(count, start + 1_500)))
    samples = np.concatenate([order.samples(start, stop) for start, stop in windows])
    assert np.unique(samples).size == samples.size
    assert samples.min() >= 0
    assert samples.max() < count


def test_without_shuffling_the_order_is_that_of_the_index() -> None:
    order = epoch_order(10**12, shuffle=False, seed=3, epoch=5)
    assert order.samples(10**11, 10**11 + 4).tolist() == [10**11 + k for k in range(4)]


def test_small_counts_are_sorted_and_larger_ones_take_no_memory() -> None:
    assert isinstance(epoch_order(SORTED_UP_TO, shuffle=True, seed=0, epoch=0), SortedOrder)
    assert isinstance(epoch_order(SORTED_UP_TO + 1, shuffle=True, seed=0, epoch=0), FeistelOrder)
    with pytest.raises(ValueError, match="65537 samples are too many to sort, expected at most 65536"):
        SortedOrder(SORTED_UP_TO + 1, 0)


# ---------------------------------------------------------------------------------------------- slices


@all_kinds
@given(count=st.integers(0, 6_000), cuts=st.lists(st.integers(0, 6_000), min_size=3, max_size=3))
@settings(max_examples=40, deadline=None)
def test_a_slice_is_the_same_however_it_is_cut(build: Build, count: int, cuts: list[int]) -> None:
    a, b, c = sorted(min(cut, count) for cut in cuts)
    parts = build(count, 1)
    joined = np.concatenate([parts.samples(a, b), parts.samples(b, c)])
    assert np.array_equal(build(count, 1).samples(a, c), joined)
    assert np.array_equal(whole(parts)[a:c], joined)


@pytest.mark.parametrize("count", [1_000, 70_000])
def test_every_single_position_agrees_with_the_whole(count: int) -> None:
    order = epoch_order(count, shuffle=True, seed=1, epoch=2)
    positions = range(0, count, max(1, count // 1_000 | 1))
    assert [int(order.samples(p, p + 1)[0]) for p in positions] == whole(order)[
        positions.start :: positions.step
    ].tolist()


@all_kinds
def test_a_slice_belongs_to_the_caller(build: Build) -> None:
    order = build(3_000, 1)
    before = whole(order)
    order.samples(10, 20)[:] = -1
    assert np.array_equal(whole(order), before)


@all_kinds
@pytest.mark.parametrize(
    ("start", "stop", "message"),
    [
        (-1, 5, "start is -1, expected at least 0"),
        (6, 5, "stop is 5, expected at least start, 6"),
        (5, 11, "stop is 11, expected at most the number of samples, 10"),
        (11, 11, "stop is 11, expected at most the number of samples, 10"),
    ],
)
def test_a_slice_out_of_bounds_names_the_bound(build: Build, start: int, stop: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        build(10, 1).samples(start, stop)


@all_kinds
def test_an_empty_slice_is_allowed_anywhere(build: Build) -> None:
    for count, position in [(0, 0), (10, 0), (10, 5), (10, 10)]:
        samples = build(count, 1).samples(position, position)
        assert samples.shape == (0,)
        assert samples.dtype == np.int64


@pytest.mark.parametrize(
    ("count", "seed", "epoch", "name"),
    [
        (-1, 0, 0, "number of samples"),
        (1, -1, 0, "seed"),
        (1, 2**63, 0, "seed"),
        (1, 0, -1, "epoch"),
        (1, 0, 2**63, "epoch"),
    ],
)
@pytest.mark.parametrize("shuffle", [True, False])
def test_an_argument_out_of_range_is_named(count: int, seed: int, epoch: int, name: str, shuffle: bool) -> None:
    with pytest.raises(ValueError, match=rf"^the {name} is -?\d+, expected an integer from 0 to 2\*\*63 - 1$"):
        epoch_order(count, shuffle=shuffle, seed=seed, epoch=epoch)


def test_the_largest_count_seed_and_epoch_are_allowed() -> None:
    for shuffle in (True, False):
        samples = epoch_order(LARGEST, shuffle=shuffle, seed=LARGEST, epoch=LARGEST).samples(LARGEST - 1_500, LARGEST)
        assert np.unique(samples).size == 1_500
        assert samples.min() >= 0


@pytest.mark.parametrize("count", [50_000, 10**7])
def test_threads_that_share_an_order_get_what_one_alone_would(count: int) -> None:
    slices = [(start, start + 700) for start in range(0, 35_000, 700)]
    alone = epoch_order(count, shuffle=True, seed=5, epoch=5)
    expected = [alone.samples(*bounds) for bounds in slices]
    shared = epoch_order(count, shuffle=True, seed=5, epoch=5)
    together = threading.Barrier(8)

    def read_all(turn: int) -> list[NDArray[np.int64]]:
        together.wait(timeout=30)
        return [shared.samples(*bounds) for bounds in slices[turn:] + slices[:turn]]

    with ThreadPoolExecutor(8) as pool:
        for turn, read in enumerate(pool.map(read_all, range(8))):
            for got, wanted in zip(read, expected[turn:] + expected[:turn], strict=True):
                assert np.array_equal(got, wanted)


@shuffled_kinds
def test_an_order_is_freed_without_the_collector(build: Build) -> None:
    order = build(5_000, 1)
    whole(order)
    gone = weakref.ref(order)
    gc.disable()
    try:
        del order
        assert gone() is None
    finally:
        gc.enable()


# ---------------------------------------------------------------------------------------------- golden


@pytest.mark.parametrize(
    ("count", "head", "tail"),
    [
        (12, [0, 8, 11, 6, 10, 7], [1, 3, 2, 5, 4, 9]),
        (65_536, [22103, 26629, 559, 64207], [30447, 46278, 26085, 45038]),
        (65_537, [36888, 20967, 10935, 57099], [53905, 4619, 23624, 62895]),
        (10**7, [4883191, 2855246, 5694801, 8603089], [8192655, 7637149, 7338351, 9550549]),
        (10**9, [275524774, 777942471, 297103726, 61442048], [609872534, 837937656, 804194698, 337547942]),
        (2**40, [408151117338, 509622345850, 1009661118887], [310172209351, 740754026622, 659954157596]),
        (LARGEST, [3860131334904161297, 2518927986528984305], [8622074043436912644, 2335462409884180742]),
    ],
)
def test_the_order_never_changes(count: int, head: list[int], tail: list[int]) -> None:
    order = epoch_order(count, shuffle=True, seed=7, epoch=3)
    assert order.samples(0, len(head)).tolist() == head
    assert order.samples(count - len(tail), count).tolist() == tail


# ---------------------------------------------------------------------------------------------- as good as a shuffle


@shuffled_kinds
@pytest.mark.parametrize("count", [2, 3, 4])
def test_every_permutation_is_equally_likely(build: Build, count: int) -> None:
    index = {permutation: number for number, permutation in enumerate(itertools.permutations(range(count)))}
    seen = [index[tuple(whole(build(count, key_of(key))).tolist())] for key in range(300 * len(index) // 2)]
    assert is_even_spread(np.bincount(seen, minlength=len(index)))


def test_every_permutation_is_equally_likely_over_seeds_and_epochs() -> None:
    index = {permutation: number for number, permutation in enumerate(itertools.permutations(range(4)))}
    seen = [index[tuple(shuffled(4, seed, epoch).tolist())] for seed in range(70) for epoch in range(70)]
    assert is_even_spread(np.bincount(seen))


@shuffled_kinds
@pytest.mark.parametrize("count", [7, 20, 23])
def test_every_position_is_equally_likely_to_hold_every_sample(build: Build, count: int) -> None:
    trials = 3_000
    held = np.zeros((count, count))
    for key in range(trials):
        held[np.arange(count), whole(build(count, key_of(key)))] += 1
    # A permutation matrix less its mean lies in (count - 1)**2 dimensions, with variance 1 / (count - 1) in each.
    statistic = float(((held - trials / count) ** 2).sum()) * (count - 1) / trials
    assert RARE < chi2.sf(statistic, (count - 1) ** 2) < 1 - RARE


@shuffled_kinds
def test_every_pair_of_samples_is_equally_likely_at_two_positions(build: Build) -> None:
    count = 12
    pairs = np.zeros((count, count), np.int64)
    for key in range(3_000):
        samples = whole(build(count, key_of(key)))
        pairs[samples[0], samples[4]] += 1  # the same low digit in the network of 12, which has 4 by 3
    assert is_even_spread(pairs[~np.eye(count, dtype=bool)])


def windows_of(count: int) -> list[NDArray[np.int64]]:
    """All of a small order, four windows of a large one."""
    order = epoch_order(count, shuffle=True, seed=11, epoch=4)
    if count <= 200_000:
        return [whole(order)]
    return [order.samples(start, start + 40_000) for start in (0, count // 3, count // 2 - 20_000, count - 40_000)]


large_counts = pytest.mark.parametrize("count", [10_007, 65_536, 65_537, 100_003, 10**7, 10**9, 2**40])


def lags_of(count: int) -> list[int]:
    """Distances at which a weak network would show: small ones, powers of two, about its digits' sizes."""
    digit = math.isqrt(count - 1) + 1
    lags = {1, 2, 3, *(2**bit for bit in range(2, 14)), *(k * (digit + d) for k in (1, 2, 16) for d in (-1, 0, 1))}
    return sorted(lag for lag in lags if lag <= 5_000)


@large_counts
def test_samples_have_nothing_to_do_with_positions_or_neighbours(count: int) -> None:
    for samples in windows_of(count):
        assert abs(correlation(np.arange(samples.size), samples)) < 4 / math.sqrt(samples.size)
        for lag in lags_of(count):
            assert abs(correlation(samples[:-lag], samples[lag:])) < 4 / math.sqrt(samples.size - lag)


@large_counts
def test_gaps_between_samples_have_the_entropy_of_a_shuffle(count: int) -> None:
    bins = 64
    for samples in windows_of(count):
        for lag in lags_of(count):
            positions = np.arange(samples.size - lag)
            first = positions[positions // lag % 2 == 0]  # so that no sample is in two pairs
            gap = np.abs(samples[first] - samples[first + lag]) / count
            level = 1 - (1 - gap) ** 2  # uniform, as the gap of two uniform numbers has this distribution
            share = np.bincount((level * bins).astype(np.int64), minlength=bins) / first.size
            entropy = -float((share[share > 0] * np.log(share[share > 0])).sum())
            # What is missing from log(bins) follows chi2 / 2n (the likelihood ratio test).
            missing = 2 * first.size * (math.log(bins) - entropy)
            assert chi2.sf(missing, bins - 1) > RARE / 10, f"lag {lag}: entropy {entropy}"


@pytest.mark.parametrize("count", [10**7, 10**9, 2**40])
def test_windows_of_an_epoch_draw_evenly_from_all_samples(count: int) -> None:
    for samples in windows_of(count):
        assert is_even_spread(np.bincount(samples * 256 // count, minlength=256))
        assert is_even_spread(np.bincount(samples % 256, minlength=256))


def keyed_alike() -> list[tuple[str, tuple[int, int], tuple[int, int]]]:
    """Pairs of (seed, epoch) that a weak key would confuse."""
    epochs = [(f"epochs {e} and {e + 1}", (3, e), (3, e + 1)) for e in range(60)]
    swapped = [(f"{e} and {e + 1} exchanged", (e, e + 1), (e + 1, e)) for e in range(60)]
    return epochs + swapped + [(f"bit {bit} of the seed", (3, 0), (3 ^ 1 << bit, 0)) for bit in range(63)]


@pytest.mark.parametrize("count", [5_003, 10**6])
def test_epochs_and_seeds_are_unrelated(count: int) -> None:
    size, together = 5_000, 0
    for what, (seed, epoch), (other_seed, other_epoch) in keyed_alike():
        a = epoch_order(count, shuffle=True, seed=seed, epoch=epoch).samples(0, size)
        b = epoch_order(count, shuffle=True, seed=other_seed, epoch=other_epoch).samples(0, size)
        assert abs(correlation(a, b)) < 4 / math.sqrt(size), what
        together += int((a == b).sum())
    # Positions where two shuffles agree are a Poisson number.
    expected = len(keyed_alike()) * size / count
    assert abs(together - expected) < 4 * math.sqrt(expected)


def test_no_two_seeds_and_epochs_share_an_order() -> None:
    orders = {tuple(shuffled(30, seed, epoch).tolist()) for seed in range(50) for epoch in range(50)}
    assert len(orders) == 2_500
