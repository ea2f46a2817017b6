"""The arithmetic of positions: what every rank gets, together and one by one."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import UsageError
from headrace.positions import TAILS, Position, Sharding, Slice, Tail, normal

SAMPLES = st.integers(1, 60)
BATCHES = st.integers(1, 9)
WORLDS = st.integers(1, 9)


def dealt(samples: int, batch: int, world: int, tail: Tail, start: int) -> list[list[Slice]]:
    """Every rank's slices from `start` to the epoch's end."""
    shardings = [Sharding(samples, batch, rank, world, tail) for rank in range(world)]
    return [[sharding.slice(3, start, k) for k in range(sharding.steps(start))] for sharding in shardings]


def positions(slices: list[Slice]) -> list[int]:
    return list(chain.from_iterable(range(place.start, place.stop) for place in slices))


@given(SAMPLES, BATCHES, WORLDS, st.data())
def test_drop_gives_every_rank_the_same_number_and_leaves_out_less_than_one_step(
    samples: int, batch: int, world: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, samples))
    ranks = dealt(samples, batch, world, "drop", start)
    assert len({len(slices) for slices in ranks}) == 1
    whole = (samples - start) // (world * batch) * world * batch
    assert sorted(chain.from_iterable(map(positions, ranks))) == list(range(start, start + whole))
    assert all(place.stop - place.start == batch for slices in ranks for place in slices)


@given(SAMPLES, BATCHES, WORLDS, st.data())
def test_pad_gives_every_rank_the_same_number_and_every_sample_once_as_valid(
    samples: int, batch: int, world: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, samples))
    ranks = dealt(samples, batch, world, "pad", start)
    assert len({len(slices) for slices in ranks}) == 1
    union = sorted(chain.from_iterable(map(positions, ranks)))
    assert union == list(range(start, start + len(union)))
    assert len(union) % (world * batch) == 0
    assert 0 <= len(union) - (samples - start) < world * batch
    assert all(place.stop - place.start == batch for slices in ranks for place in slices)


@given(SAMPLES, BATCHES, WORLDS, st.data())
def test_partial_gives_every_sample_once(samples: int, batch: int, world: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, samples))
    ranks = dealt(samples, batch, world, "partial", start)
    assert sorted(chain.from_iterable(map(positions, ranks))) == list(range(start, samples))
    assert all(1 <= place.stop - place.start <= batch for slices in ranks for place in slices)
    assert sum(place.stop - place.start < batch for slices in ranks for place in slices) <= 1
    counts = [len(slices) for slices in ranks]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] - counts[-1] <= 1


@given(SAMPLES, BATCHES, WORLDS, st.sampled_from(TAILS), st.data())
def test_the_ranks_of_a_step_hold_neighbouring_slices_in_the_order_of_the_epoch(
    samples: int, batch: int, world: int, tail: Tail, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, samples))
    ranks = dealt(samples, batch, world, tail, start)
    steps = max(map(len, ranks))
    in_time = [slices[step] for step in range(steps) for slices in ranks if step < len(slices)]
    assert positions(in_time) == list(range(start, start + len(positions(in_time))))


@given(SAMPLES, BATCHES, WORLDS, st.sampled_from(TAILS), st.data())
def test_where_training_stands_after_a_batch_is_the_same_on_every_rank_that_has_batches_left(
    samples: int, batch: int, world: int, tail: Tail, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, samples))
    for slices in dealt(samples, batch, world, tail, start):
        for k, place in enumerate(slices):
            last = k + 1 == len(slices)
            assert place.after == (Position(4, 0) if last else Position(3, start + (k + 1) * batch * world))


@given(SAMPLES, st.lists(st.tuples(BATCHES, WORLDS, st.integers(0, 5)), max_size=5))
def test_a_world_may_change_its_size_at_any_step_and_no_sample_is_missing_or_comes_twice(
    samples: int, phases: list[tuple[int, int, int]]
) -> None:
    at, consumed = Position(3, 0), []
    for batch, world, steps in phases:
        ranks = dealt(samples, batch, world, "partial", at.samples)
        if at.epoch > 3 or len(ranks[0]) <= steps:
            break
        for step in range(steps):
            consumed += positions([slices[step] for slices in ranks if step < len(slices)])
            at = ranks[0][step].after
    remaining = positions(dealt(samples, 7, 1, "partial", at.samples)[0])
    assert consumed + remaining == list(range(samples))


@given(SAMPLES, st.integers(0, 200), st.integers(1, 100))
def test_a_position_beyond_the_samples_is_the_sample_of_its_remainder(samples: int, start: int, count: int) -> None:
    pieces = Sharding(samples, 1, tail="pad").pieces(start, start + count)
    assert [p for first, last in pieces for p in range(first, last)] == [
        p % samples for p in range(start, start + count)
    ]
    assert all(0 <= first < last <= samples for first, last in pieces)


def test_the_end_of_an_epoch_is_written_as_the_beginning_of_the_next() -> None:
    assert normal(Position(2, 90), 90) == (3, 0)
    assert normal(Position(2, 91), 90) == (3, 0)
    assert normal(Position(2, 89), 90) == (2, 89)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"batch_size": True}, "batch_size"),
        ({"rank": 2, "world_size": 2}, "rank"),
        ({"rank": -1}, "rank"),
        ({"world_size": 0}, "world_size"),
        ({"tail": "pads"}, "tail"),
    ],
)
def test_a_place_that_cannot_be_is_refused_naming_the_field(wrong: dict[str, object], field: str) -> None:
    with pytest.raises(UsageError, match=field):
        Sharding(**{"samples": 10, "batch_size": 2, **wrong})  # type: ignore[arg-type]
