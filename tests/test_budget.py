"""A bound on memory that many share."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace_server.budget import Budget


def test_what_is_taken_is_counted_and_told() -> None:
    told: list[int] = []
    budget = Budget(100, told.append)
    assert budget.take(30)
    budget.give_back(10)
    assert (budget.used, told) == (20, [30, 20])


def test_nobody_may_hold_more_than_is_left_for_the_others() -> None:
    budget = Budget(100)
    assert budget.take(50)
    assert not budget.take(1, 50)
    assert budget.take(25), "another holds none, and 25 are left afterwards"
    budget.give_back(50)
    assert budget.take(1, 0)


@given(
    total=st.integers(0, 2000),
    batch=st.integers(1, 50),
    wishes=st.lists(st.integers(0, 9), max_size=400),
)
def test_whoever_takes_leaves_as_much_as_it_then_holds(total: int, batch: int, wishes: list[int]) -> None:
    budget, held = Budget(total), [0] * 10
    for who in wishes:
        before = budget.used
        if budget.take(batch, held[who]):
            held[who] += batch
            assert held[who] <= total - budget.used
        else:
            assert budget.used == before
            assert held[who] + batch > total - before - batch
    assert budget.used == sum(held) <= total
    assert max(held) <= total / 2


def test_of_many_that_fill_up_together_each_gets_the_same() -> None:
    budget, held = Budget(1100), [0] * 10
    for _ in range(200):
        for who in range(10):
            held[who] += 1 if budget.take(1, held[who]) else 0
    assert set(held) == {100}
