"""How much one task does."""

from __future__ import annotations

import pytest

from headrace_server.workshop import Runs


@pytest.mark.parametrize(("milliseconds", "length"), [(0.001, 64), (0.1, 40), (0.25, 16), (1, 8), (50, 8)])
def test_a_run_takes_some_milliseconds_within_bounds(milliseconds: float, length: int) -> None:
    runs = Runs()
    for _ in range(200):
        runs.took(8, 8 * milliseconds / 1000)
    assert abs(runs.length - length) <= 1


def test_it_begins_short() -> None:
    assert Runs().length == 8
