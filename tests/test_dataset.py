"""Datasets over a real server: passes, epochs, ranks, tails, columns, budgets."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from harness import ServerProcess

import headrace

TRAIN = 90
"""Samples of the split `train` of `flowers`."""


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[headrace.Client]:
    with headrace.connect(server.url, wait=0) as connected:
        yield connected


@pytest.fixture(scope="module")
def odd(oddities: ServerProcess) -> Iterator[headrace.Client]:
    with headrace.connect(oddities.url, wait=0) as connected:
        yield connected


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("headrace")] == []


def train_of(client: headrace.Client, **options: Any) -> headrace.Dataset:
    return client.dataset("flowers", **{"split": "train", "batch_size": 32, "shuffle": True, "seed": 1, **options})


def keys(batches: Any) -> list[str]:
    return [str(key) for batch in batches for key in batch["key"]]


def test_a_pass_gives_every_sample_once_in_batches_the_last_of_them_short(client: headrace.Client) -> None:
    train = train_of(client)
    batches = list(train)
    assert [len(batch["image"]) for batch in batches] == [32, 32, 26]
    assert len(train) == 3
    assert train.samples == len(set(keys(batches))) == TRAIN
    assert train.classes == ("daisy", "rose")


def test_columns_fit_together_and_have_the_dtypes_of_the_plan(client: headrace.Client) -> None:
    for batch in train_of(client):
        assert batch["image"].dtype == np.uint8
        assert batch["image"].shape[1:] == (16, 16, 3)
        assert batch["label"].dtype == np.int64
        assert batch["key"].dtype.kind == "U"
        names = [key.split("/")[1] for key in batch["key"]]
        assert [("daisy", "rose")[label] for label in batch["label"]] == names
        assert batch.nbytes >= batch["image"].nbytes + batch["label"].nbytes


def test_the_pixels_are_those_of_the_files(client: headrace.Client, flowers: Any) -> None:
    from PIL import Image

    whole = client.dataset("flowers", split="val", batch_size=5, transforms=[headrace.Resize((24, 32))])
    for batch in whole:
        for key, image in zip(batch["key"], batch["image"], strict=True):
            assert np.array_equal(image, np.asarray(Image.open(flowers / key)))


def test_the_next_pass_is_the_next_epoch_in_another_order(client: headrace.Client) -> None:
    train = train_of(client)
    passes = []
    for epoch in range(3):
        assert train.epoch == epoch
        passes.append(keys(train))
    assert len({tuple(order) for order in passes}) == 3
    assert {tuple(sorted(order)) for order in passes} == {tuple(sorted(passes[0]))}


def test_without_shuffling_every_epoch_is_in_the_order_of_the_index(client: headrace.Client) -> None:
    plain = train_of(client, shuffle=False)
    assert keys(plain) == keys(plain) == sorted(keys(plain))


def test_several_epochs_in_one_pass_are_those_of_several_passes(client: headrace.Client) -> None:
    three, single = train_of(client, epochs=3), train_of(client)
    assert len(three) == 9
    assert keys(three) == keys(single) + keys(single) + keys(single)
    assert three.epoch == 3
    assert keys(three) == keys(single) + keys(single) + keys(single)


def test_set_epoch_goes_to_the_beginning_of_an_epoch(client: headrace.Client) -> None:
    train = train_of(client)
    first, second = keys(train), keys(train)
    train.set_epoch(0)
    assert keys(train) == first
    train.set_epoch(1)
    next(iter(train))
    assert keys(train) == second
    for wrong in (-1, 1.5, "1"):
        with pytest.raises(headrace.UsageError, match="epoch"):
            train.set_epoch(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_pass_that_is_left_early_begins_again(client: headrace.Client, after: int) -> None:
    train, whole = train_of(client), keys(train_of(client))
    for number, _ in enumerate(train, 1):
        if number == after:
            break
    again = keys(train)
    if after < 3:
        assert again == whole
    else:  # its last batch had been handed out: the epoch is over
        assert again != whole
        assert sorted(again) == sorted(whole)


def test_two_iterations_at_a_time_do_not_disturb_each_other(client: headrace.Client) -> None:
    train, whole = train_of(client, batch_size=7), keys(train_of(client))
    pairs = list(zip(train, train, strict=True))
    assert keys(first for first, _ in pairs) == keys(second for _, second in pairs) == whole


def test_an_iterator_that_is_dropped_leaves_no_thread(client: headrace.Client) -> None:
    iterator = iter(train_of(client, batch_size=1))
    next(iterator)
    del iterator


def test_batches_stay_as_they_were_when_others_come(client: headrace.Client) -> None:
    train = train_of(client, batch_size=4, prefetch=1)
    kept, copies = [], []
    for _ in range(2):
        for batch in train:
            kept.append(batch["image"])
            copies.append(batch["image"].copy())
    assert all(np.array_equal(batch, copy) for batch, copy in zip(kept, copies, strict=True))
    assert not any(np.shares_memory(a, b) for a, b in pairwise(kept))


@pytest.mark.parametrize("batch_size", [1, 7, 89, 90, 91, 1000])
@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("tail", ["partial", "drop", "pad"])
def test_all_ranks_together_get_the_epoch_as_the_tail_says(
    client: headrace.Client, tail: Any, world: int, batch_size: int
) -> None:
    ranks = [train_of(client, rank=r, world_size=world, batch_size=batch_size, tail=tail) for r in range(world)]
    seen: Counter[str] = Counter()
    counts = []
    for rank in ranks:
        batches = list(rank)
        counts.append(len(batches))
        assert len(rank) == len(batches)
        for batch in batches:
            valid = batch.get("valid", np.ones(len(batch["key"]), bool))
            assert ("valid" in batch) == (tail == "pad")
            assert tail == "partial" or len(batch["key"]) == batch_size
            seen.update(batch["key"][valid].tolist())
        assert rank.epoch == 1
    assert set(seen.values()) <= {1}
    step = batch_size * world
    assert len(seen) == (TRAIN // step * step if tail == "drop" else TRAIN)
    assert tail == "partial" or len(set(counts)) == 1


def test_a_padded_batch_repeats_the_epochs_beginning(client: headrace.Client) -> None:
    whole = keys(train_of(client))
    padded = list(train_of(client, batch_size=200, tail="pad"))
    assert keys(padded) == [whole[p % TRAIN] for p in range(200)]
    assert padded[0]["valid"].tolist() == [p < TRAIN for p in range(200)]
    by_key = dict(zip(padded[0]["key"][:TRAIN], padded[0]["image"][:TRAIN], strict=True))
    assert all(
        np.array_equal(by_key[key], image) for key, image in zip(padded[0]["key"], padded[0]["image"], strict=True)
    )


def test_a_rank_without_any_batch_has_epochs_all_the_same(client: headrace.Client) -> None:
    idle = train_of(client, batch_size=60, rank=2, world_size=3, tail="partial")
    assert len(idle) == 0
    for epoch in range(3):
        assert idle.epoch == epoch
        assert list(idle) == []
    assert idle.state_dict()["epoch"] == 3


@pytest.mark.parametrize("tail", ["partial", "drop", "pad"])
def test_a_single_picture_is_a_dataset(odd: headrace.Client, tail: Any) -> None:
    one = odd.dataset("one", batch_size=3, tail=tail, shuffle=True)
    sizes = [[len(batch["key"]) for batch in one] for _ in range(2)]
    assert sizes == {"partial": [[1]] * 2, "drop": [[]] * 2, "pad": [[3]] * 2}[tail]
    assert one.epoch == 2


def test_the_default_of_tail_is_partial_for_one_rank_and_drop_for_more(client: headrace.Client) -> None:
    assert train_of(client).sharding.tail == "partial"
    assert train_of(client, rank=0, world_size=1).sharding.tail == "partial"
    assert train_of(client, rank=0, world_size=2).sharding.tail == "drop"


@pytest.mark.parametrize(
    ("dtype", "transforms", "found"),
    [
        (None, [], np.uint8),
        ("float32", [], np.float32),
        ("float16", [], np.float16),
        (None, [headrace.Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))], np.float32),
        (None, [headrace.Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), dtype="float16")], np.float16),
    ],
)
def test_floats_are_the_same_values(client: headrace.Client, dtype: Any, transforms: Any, found: Any) -> None:
    plain = next(iter(train_of(client, transforms=[headrace.Resize((6, 5))])))["image"]
    batch = next(iter(train_of(client, transforms=[headrace.Resize((6, 5)), *transforms], dtype=dtype)))
    assert batch["image"].dtype == found
    expected = (plain / 255 - 0.5) / 0.5 if transforms else plain
    assert np.allclose(batch["image"].astype(np.float64), expected, atol=2e-3)


def test_channels_may_come_first(client: headrace.Client) -> None:
    last = next(iter(train_of(client)))["image"]
    first = next(iter(train_of(client, layout="NCHW")))["image"]
    assert np.array_equal(first, last.transpose(0, 3, 1, 2))


def test_a_folder_without_classes_has_no_labels(odd: headrace.Client) -> None:
    flat = odd.dataset("flat", batch_size=4)
    batches = list(flat)
    assert flat.classes is None
    assert all(set(batch) == {"image", "key"} for batch in batches)
    assert len(keys(batches)) == 10


def test_names_that_are_not_utf8_are_escaped(odd: headrace.Client) -> None:
    assert sorted(keys(odd.dataset("names", batch_size=2))) == ["a/00000.png", "a/\\xff.png", "a/größer.png"]


def test_frames_may_be_checked_by_a_checksum(client: headrace.Client) -> None:
    assert keys(train_of(client, checksum=True)) == keys(train_of(client))
    assert len(keys(train_of(client, checksum=True, tail="pad"))) == 96


def test_statistics_count_what_came(client: headrace.Client) -> None:
    train = train_of(client)
    assert (train.stats().images, train.stats().images_per_second, train.stats().waited_share) == (0, 0, 0)
    total = sum(batch.nbytes for batch in train)
    stats = train.stats()
    assert (stats.batches, stats.images, stats.bytes, stats.replaced) == (3, TRAIN, total, 0)
    assert 0 < stats.waited_seconds <= stats.seconds < 30
    assert stats.images_per_second == pytest.approx(TRAIN / stats.seconds)
    assert stats.bytes_per_second == pytest.approx(total / stats.seconds)
    assert 0 < stats.waited_share <= 1
    assert "90 images" in str(stats)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WORLD_SIZE", "4", "WORLD_SIZE=4"),
        ("TF_CONFIG", json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": {"index": 0}}), "2 workers"),
        ("TF_CONFIG", json.dumps({"cluster": {"chief": ["a:1"], "worker": ["b:1"], "ps": ["c:1"]}}), "2 workers"),
    ],
)
def test_one_of_several_workers_must_say_which(
    client: headrace.Client, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(headrace.UsageError, match=words):
        train_of(client)
    assert train_of(client, rank=0, world_size=1).sharding.world_size == 1
    assert train_of(client, rank=1, world_size=2).sharding.rank == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORLD_SIZE", "1"),
        ("WORLD_SIZE", ""),
        ("WORLD_SIZE", "two"),
        ("TF_CONFIG", ""),
        ("TF_CONFIG", "{"),
        ("TF_CONFIG", "[]"),
        ("TF_CONFIG", '{"cluster": null}'),
        ("TF_CONFIG", '{"cluster": {"worker": 5}}'),
        ("TF_CONFIG", json.dumps({"cluster": {"worker": ["a:1"], "ps": ["c:1"]}})),
    ],
)
def test_an_environment_of_one_worker_asks_for_nothing(
    client: headrace.Client, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert train_of(client).sharding.world_size == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rank": 0}, "world_size go together"),
        ({"world_size": 2}, "world_size go together"),
        ({"rank": 2, "world_size": 2}, "rank"),
        ({"batch_size": 0}, "batch_size"),
        ({"tail": "cut"}, "tail"),
        ({"epochs": 0}, "epochs"),
        ({"prefetch": 0}, "prefetch"),
        ({"replace_budget": 2}, "replace_budget"),
        ({"seed": -1}, "seed"),
        ({"dtype": "int8"}, "dtype"),
        ({"layout": "CHW"}, "layout"),
        ({"transforms": [{"name": "Rezise", "size": 3}]}, "Rezise"),
        ({"split": "trian"}, "train, val"),
        ({"split": None}, "train, val"),
        ({"transforms": []}, "Resize"),
    ],
)
def test_an_argument_that_cannot_be_is_refused_in_one_line(
    client: headrace.Client, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(headrace.UsageError, match=words) as error:
        train_of(client, **options)
    assert "\n" not in str(error.value)


def test_an_unknown_dataset_is_refused_naming_those_that_are_there(client: headrace.Client) -> None:
    with pytest.raises(headrace.PlanRefused, match=r"tulips.*flowers"):
        client.dataset("tulips", batch_size=3)


def test_a_batch_that_is_too_large_is_refused_with_the_bound(client: headrace.Client) -> None:
    huge = train_of(client, batch_size=90, transforms=[headrace.Resize((4000, 4000))])
    with pytest.raises(headrace.RequestRefused, match="max_batch_mb") as error:
        next(iter(huge))
    assert error.value.status == 422


def test_as_many_replaced_samples_as_the_budget_allows_are_counted_and_named(odd: headrace.Client) -> None:
    damaged = odd.dataset("damaged", batch_size=16)
    for _ in range(2):
        batches = list(damaged)
        replaced = [entry for batch in batches for entry in batch.replaced]
        assert [entry.position for entry in replaced] == [20, 150]
        assert [entry.key for entry in replaced] == ["a/00020.png", "a/00150.png"]
        names = keys(batches)
        assert [names[20], names[150]] == [entry.by for entry in replaced]
        assert len(names) == 200
    assert damaged.stats().replaced == 4


@pytest.mark.parametrize(
    ("dataset", "budget", "position"),
    [("damaged", 0, 20), ("damaged", 0.005, 150), ("worse", None, 150), ("worse", 0.0149, 150), ("worse", 0.015, None)],
)
def test_one_replaced_sample_more_than_the_budget_is_an_error_at_its_batch(
    odd: headrace.Client, dataset: str, budget: float | None, position: int | None
) -> None:
    train = odd.dataset(dataset, batch_size=16, replace_budget=budget)
    if position is None:
        assert len(keys(train)) == 200
        return
    for _ in range(2):  # the same again, at the same place
        received = 0
        with pytest.raises(headrace.TooManyReplaced, match=rf"a/{position:05}\.png.*replace_budget="):  # noqa: PT012
            for batch in train:
                received += len(batch["key"])
        assert received == position // 16 * 16


def test_a_pass_that_begins_again_counts_its_replaced_samples_anew(odd: headrace.Client) -> None:
    damaged = odd.dataset("damaged", batch_size=16)
    for batch in damaged:
        if batch.replaced:
            break
    assert damaged.state_dict()["replaced"] == 1
    counts = [damaged.state_dict()["replaced"] for _ in damaged]
    assert counts == [0, *[1] * 8, *[2] * 3, 0]


def test_a_plan_that_the_server_has_forgotten_is_posted_again(flowers: Any) -> None:
    folders = [flowers, "--transforms", '[{"name": "Resize", "size": [16, 16]}]']
    with ServerProcess(*folders) as first, headrace.connect(first.url, wait=0) as client:
        train = client.dataset("flowers", split="train", batch_size=32, shuffle=True)
        before = keys(train)
        first.stop()
        with ServerProcess(*folders, port=first.port):
            train.set_epoch(0)
            assert keys(train) == before
            train.set_epoch(0)
            assert sorted(keys(train)) == sorted(before)
