"""Saved places: plain JSON data, and what is refused when it comes back."""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import Any

import pytest
from hostile import INFO
from hypothesis import given
from hypothesis import strategies as st

from headrace import StateMismatch, UsageError, state
from headrace.positions import Position
from headrace.state import State
from headrace_proto.plan import PlanInfo

PLACE = State(Position(3, 5), 2)


def changed(**fields: Any) -> PlanInfo:
    """The same plan but for some fields of the server's answer."""
    return dataclasses.replace(INFO, **fields)


@given(st.integers(0, 2**63 - 1), st.integers(0, INFO.samples - 1), st.integers(0, 2**31))
def test_a_state_survives_json(epoch: int, samples: int, replaced: int) -> None:
    place = State(Position(epoch, samples), replaced)
    assert state.restore(json.loads(json.dumps(state.save(place, INFO))), INFO) == place


def test_a_state_is_plain_data_and_says_where_training_stands() -> None:
    saved = state.save(PLACE, INFO)
    assert (saved["plan"], saved["engine"], saved["epoch"], saved["samples"], saved["replaced"]) == (
        "plan-1",
        "engine-1",
        3,
        5,
        2,
    )
    assert json.loads(json.dumps(saved)) == saved


def test_the_end_of_an_epoch_is_restored_as_the_beginning_of_the_next() -> None:
    saved = {**state.save(PLACE, INFO), "samples": INFO.samples}
    assert state.restore(saved, INFO) == State(Position(4, 0), 0)


def test_a_place_beyond_the_epoch_is_refused() -> None:
    saved = {**state.save(PLACE, INFO), "samples": INFO.samples + 1}
    with pytest.raises(StateMismatch, match=f"sample {INFO.samples + 1} of an epoch of {INFO.samples}"):
        state.restore(saved, INFO)


@pytest.mark.parametrize(
    ("fields", "part", "words"),
    [
        ({"plan": {**INFO.plan, "seed": 7}}, "seed", "seed was 0, now 7"),
        ({"plan": {**INFO.plan, "split": "val"}}, "split", "split was 'train', now 'val'"),
        ({"plan": {**INFO.plan, "shuffle": True}}, "shuffle", "shuffle was False, now True"),
        ({"plan": {**INFO.plan, "layout": "NCHW"}}, "layout", "layout was 'NHWC', now 'NCHW'"),
        ({"plan": {**INFO.plan, "dtype": "float16"}}, "dtype", "dtype was as the transforms end, now 'float16'"),
        ({"plan": {**INFO.plan, "transforms": [{"name": "Resize"}]}}, "transforms", "transforms was None"),
        ({"plan": {**INFO.plan, "dataset": "other"}}, "dataset", "dataset was 'made-up', now 'other'"),
        ({"fingerprint": "1" * 32}, "data", "data was 000000000000, now 111111111111"),
        ({}, "plan", "id plan-1, now plan-2"),
    ],
)
def test_a_state_of_another_plan_is_refused_naming_what_differs(fields: dict[str, Any], part: str, words: str) -> None:
    with pytest.raises(StateMismatch) as error:
        state.restore(state.save(PLACE, INFO), changed(id="plan-2", **fields))
    assert error.value.parts == (part,)
    assert words in str(error.value)
    assert ("allow_changed=True" in str(error.value)) == (part == "data")
    assert isinstance(error.value, UsageError)


def test_a_field_that_says_its_default_is_as_one_that_is_left_out() -> None:
    spelled = changed(plan={**INFO.plan, "shuffle": False, "seed": 0, "dtype": None, "layout": "NHWC"})
    assert state.restore(state.save(PLACE, INFO), spelled) == PLACE
    with pytest.raises(StateMismatch) as error:
        state.restore(state.save(PLACE, INFO), dataclasses.replace(spelled, id="plan-2", fingerprint="1" * 32))
    assert error.value.parts == ("data",)


def test_changed_data_is_accepted_on_demand_and_nothing_else() -> None:
    saved = state.save(PLACE, INFO)
    grown = changed(id="plan-2", fingerprint="1" * 32, samples=20)
    assert state.restore(saved, grown, allow_changed=True) == PLACE
    both = dataclasses.replace(grown, plan={**INFO.plan, "seed": 7})
    with pytest.raises(StateMismatch) as error:
        state.restore(saved, both, allow_changed=True)
    assert error.value.parts == ("seed",)


def test_data_that_shrank_below_the_place_goes_on_with_the_next_epoch() -> None:
    shrunk = changed(id="plan-2", fingerprint="1" * 32, samples=4)
    assert state.restore(state.save(PLACE, INFO), shrunk, allow_changed=True) == State(Position(4, 0), 0)


def test_another_engine_is_accepted_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "headrace"):
        assert state.restore(state.save(PLACE, INFO), changed(engine="engine-2")) == PLACE
    assert "engine-1" in caplog.text
    assert "engine-2" in caplog.text
    caplog.clear()
    state.restore(state.save(PLACE, INFO), INFO)
    assert caplog.text == ""


GOOD = state.save(PLACE, INFO)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        "state",
        {},
        {"version": 2},
        {**GOOD, "version": 2},
        {**GOOD, "epoch": -1},
        {**GOOD, "epoch": 1.5},
        {**GOOD, "epoch": True},
        {**GOOD, "samples": "5"},
        {**GOOD, "samples": 2**64},
        {**GOOD, "replaced": None},
        {**GOOD, "fields": []},
        {**GOOD, "fields": "seed"},
        {**GOOD, "fields": None},
        {**GOOD, "fingerprint": None},
        {**GOOD, "plan": None},
        {**GOOD, "engine": 7},
        *({name: value for name, value in GOOD.items() if name != left_out} for left_out in GOOD),
    ],
)
def test_what_is_no_state_is_refused_in_one_line(wrong: Any) -> None:
    with pytest.raises(StateMismatch) as error:
        state.restore(wrong, INFO)
    assert "\n" not in str(error.value)
