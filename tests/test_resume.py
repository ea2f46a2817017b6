"""Saved at any step and resumed, again and again, by any number of ranks: nothing is missing, nothing comes twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import ServerProcess, write_dataset

import headrace

TRAIN = 90
AUGMENT = [headrace.RandomResizedCrop(12), headrace.RandomFlip()]


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[headrace.Client]:
    with headrace.connect(server.url, wait=0) as connected:
        yield connected


def dataset(client: headrace.Client, **options: Any) -> headrace.Dataset:
    defaults = {"split": "train", "batch_size": 16, "shuffle": True, "seed": 3, "transforms": AUGMENT, "epochs": 2}
    return client.dataset("flowers", **{**defaults, **options})


def resumed(client: headrace.Client, state: dict[str, Any], **options: Any) -> headrace.Dataset:
    """A new dataset at a state that went through a file."""
    fresh = dataset(client, **options)
    fresh.load_state_dict(json.loads(json.dumps(state)))
    return fresh


def with_states(batches: headrace.Dataset) -> list[tuple[headrace.Batch, dict[str, Any]]]:
    return [(batch, batches.state_dict()) for batch in batches]


def same(ours: headrace.Batch, theirs: headrace.Batch) -> bool:
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("tail", ["partial", "drop", "pad"])
def test_from_a_state_at_any_step_the_remainder_is_the_same_and_so_it_is_from_a_second_one(
    client: headrace.Client, tail: Any
) -> None:
    whole = with_states(dataset(client, tail=tail))
    assert len(whole) == len(dataset(client, tail=tail))
    for step, (_, state) in enumerate(whole[:-1], 1):
        rest = with_states(resumed(client, state, tail=tail))
        assert len(rest) == len(whole) - step
        for (ours, our_state), (theirs, their_state) in zip(rest, whole[step:], strict=True):
            assert same(ours, theirs)
            assert our_state == their_state
        middle = len(rest) // 2
        again = list(resumed(client, rest[middle][1], tail=tail)) if middle + 1 < len(rest) else []
        assert all(same(*pair) for pair in zip(again, [batch for batch, _ in rest[middle + 1 :]], strict=True))


def test_the_last_state_of_a_pass_begins_the_next(client: headrace.Client) -> None:
    train = dataset(client)
    last = with_states(train)[-1][1]
    assert (last["epoch"], last["samples"]) == (2, 0)
    assert all(same(*pair) for pair in zip(resumed(client, last), train, strict=True))


def test_a_state_of_a_batch_is_the_state_after_it(client: headrace.Client) -> None:
    train = dataset(client)
    whole = with_states(train)
    assert [train.state_dict(batch) for batch, _ in whole] == [state for _, state in whole]
    with pytest.raises(headrace.UsageError, match="takes a batch"):
        train.state_dict({"image": 1})  # type: ignore[arg-type]


def test_a_dataset_is_at_its_beginning_before_the_first_batch(client: headrace.Client) -> None:
    train = dataset(client)
    state = train.state_dict()
    assert (state["epoch"], state["samples"], state["replaced"]) == (0, 0, 0)
    assert all(same(*pair) for pair in zip(resumed(client, state), train, strict=True))


def test_loading_a_state_in_the_middle_of_a_pass_counts_for_the_next(client: headrace.Client) -> None:
    train = dataset(client, epochs=None)
    first = with_states(train)
    train.load_state_dict(first[2][1])
    assert all(same(*pair) for pair in zip(train, [batch for batch, _ in first[3:]], strict=True))
    assert train.epoch == 1


def test_a_pass_that_was_resumed_and_left_early_begins_again_where_it_was_resumed(client: headrace.Client) -> None:
    whole = with_states(dataset(client))
    train = resumed(client, whole[1][1])
    next(iter(train))
    assert all(same(*pair) for pair in zip(train, [batch for batch, _ in whole[2:]], strict=True))


def test_eight_ranks_then_two_then_eight_consume_the_epoch_in_its_one_order(client: headrace.Client) -> None:
    """Each phase resumes from another rank's state; the last takes what is left."""
    order = [key for batch in dataset(client, epochs=None) for key in batch["key"]]
    state, consumed = dataset(client).state_dict(), []
    for world, batch_size, steps in ((8, 2, 2), (2, 5, 3), (8, 1, 2)):
        ranks = [
            resumed(client, state, epochs=None, batch_size=batch_size, rank=rank, world_size=world, tail="drop")
            for rank in range(world)
        ]
        running = [iter(rank) for rank in ranks]
        for _ in range(steps):
            for iterator in running:
                consumed += next(iterator)["key"].tolist()
        states = [rank.state_dict() for rank in ranks]
        assert all(each == states[0] for each in states)
        state = states[world // 2]
    remaining = [key for batch in resumed(client, state, epochs=None, batch_size=7) for key in batch["key"]]
    assert len(consumed) == 8 * 2 * 2 + 2 * 5 * 3 + 8 * 1 * 2
    assert consumed + remaining == order
    assert len(set(order)) == TRAIN


def test_a_state_near_the_end_of_an_epoch_leaves_nothing_to_a_larger_step(client: headrace.Client) -> None:
    near = {**dataset(client).state_dict(), "samples": 80}
    train = resumed(client, near, epochs=None, batch_size=16, rank=0, world_size=2, tail="drop")
    assert list(train) == []
    assert train.state_dict()["epoch"] == 1
    assert len(list(train)) == TRAIN // 32


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"seed": 4}, "seed"),
        ({"shuffle": False}, "shuffle"),
        ({"split": "val"}, "split"),
        ({"transforms": [headrace.Resize((5, 5))]}, "transforms"),
        ({"dtype": "float32"}, "dtype"),
    ],
)
def test_a_state_of_another_plan_is_refused_naming_what_differs(
    client: headrace.Client, options: dict[str, Any], part: str
) -> None:
    with pytest.raises(headrace.StateMismatch, match=part) as error:
        resumed(client, dataset(client).state_dict(), **options)
    assert error.value.parts == (part,)


def test_replaced_samples_are_part_of_the_state_and_of_the_budget(oddities: ServerProcess) -> None:
    with headrace.connect(oddities.url, wait=0) as client:
        whole = with_states(client.dataset("damaged", batch_size=16, epochs=2))
        assert {state["replaced"] for _, state in whole} == {0, 1, 2}
        worse = client.dataset("worse", batch_size=16)
        states, iterator = [], iter(worse)
        for _ in range(150 // 16):
            next(iterator)
            states.append(worse.state_dict())
        for state in states:  # wherever it is resumed, the third is one too many
            again = client.dataset("worse", batch_size=10)
            again.load_state_dict(state)
            with pytest.raises(headrace.TooManyReplaced, match=r"a/00150\.png"):
                list(again)


def test_changed_data_is_refused_and_accepted_on_demand(tmp_path: Path) -> None:
    root, transforms = tmp_path / "growing", '[{"name": "Resize", "size": [8, 8]}]'
    write_dataset(root, {"a": 20, "b": 10})
    with ServerProcess(root, "--transforms", transforms) as first, headrace.connect(first.url, wait=0) as client:
        train = client.dataset("growing", batch_size=4)
        next(iter(train))
        state = train.state_dict()
    write_dataset(root, {"c": 5})
    with ServerProcess(root, "--transforms", transforms) as second, headrace.connect(second.url, wait=0) as client:
        grown = client.dataset("growing", batch_size=4)
        with pytest.raises(headrace.StateMismatch, match=r"allow_changed=True") as error:
            grown.load_state_dict(state)
        assert error.value.parts == ("data",)
        grown.load_state_dict(state, allow_changed=True)
        assert sum(len(batch["key"]) for batch in grown) == 35 - 4


def test_data_that_changed_under_a_running_plan_ends_the_run(tmp_path: Path) -> None:
    root, transforms = tmp_path / "growing", '[{"name": "Resize", "size": [8, 8]}]'
    write_dataset(root, {"a": 20})
    with ServerProcess(root, "--transforms", transforms) as first, headrace.connect(first.url, wait=0) as client:
        train = client.dataset("growing", batch_size=4)
        list(train)
        first.stop()
        write_dataset(root, {"b": 5})
        with (
            ServerProcess(root, "--transforms", transforms, port=first.port),
            pytest.raises(headrace.DataChanged, match="serves other data"),
        ):
            list(train)
