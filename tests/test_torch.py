"""PyTorch: finished batches in DataLoaders with any workers, in the order of the plain iteration."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from harness import ServerProcess
from torch.utils.data import DataLoader

import headrace
from headrace.adapters.torch import TorchBatches

TRAIN = 90
LOADERS: dict[str, dict[str, Any]] = {
    "no workers": {"num_workers": 0},
    "2 workers": {"num_workers": 2, "multiprocessing_context": "fork"},
    "2 that persist": {"num_workers": 2, "multiprocessing_context": "fork", "persistent_workers": True},
    "3 workers": {"num_workers": 3, "multiprocessing_context": "fork"},
}
SPAWNED = {"2 spawned": {"num_workers": 2, "multiprocessing_context": "spawn", "persistent_workers": True}}


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[headrace.Client]:
    with headrace.connect(server.url, wait=0) as connected:
        yield connected


@pytest.fixture(autouse=True)
def _forking_is_torchs_choice() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*suggested max number of worker")
        yield


def dataset(client: headrace.Client, **options: Any) -> headrace.Dataset:
    defaults = {"split": "train", "batch_size": 8, "shuffle": True, "seed": 5}
    return client.dataset("flowers", **{**defaults, **options})


def loader(batches: TorchBatches, kind: str) -> DataLoader[dict[str, Any]]:
    return DataLoader(batches, batch_size=None, **{**LOADERS, **SPAWNED}[kind])


def keys(batches: Any) -> list[str]:
    return [key for batch in batches for key in batch["key"]]


def failure(batches: DataLoader[dict[str, Any]]) -> Exception:
    """The error that a pass ends in. torch waits five seconds a worker if its iterator is left to the collector."""
    iterator = iter(batches)
    try:
        with pytest.raises((headrace.HeadraceError, RuntimeError)) as error:
            list(iterator)
        return error.value
    finally:
        getattr(iterator, "_shutdown_workers", lambda: None)()


def plain(client: headrace.Client, epochs: int, **options: Any) -> list[list[str]]:
    """The keys of epoch after epoch, iterated without torch."""
    train = dataset(client, **options)
    return [keys(train) for _ in range(epochs)]


@pytest.mark.parametrize("kind", [*LOADERS, *SPAWNED])
def test_three_passes_are_three_epochs_in_the_order_of_the_plain_iteration(client: headrace.Client, kind: str) -> None:
    batches = loader(dataset(client).to_torch(), kind)
    assert [keys(batches) for _ in range(3)] == plain(client, 3)


@pytest.mark.parametrize("kind", ["no workers", "2 workers"])
def test_a_batch_is_tensors_of_the_same_values_with_channels_first(client: headrace.Client, kind: str) -> None:
    batch = next(iter(loader(dataset(client).to_torch(), kind)))
    expected = next(iter(dataset(client)))
    assert isinstance(batch, headrace.Batch)
    assert batch["image"].shape == (8, 3, 16, 16)
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(batch["image"].permute(0, 2, 3, 1).numpy(), expected["image"])
    assert batch["label"].dtype == torch.int64
    assert batch["label"].tolist() == expected["label"].tolist()
    assert batch["key"] == expected["key"].tolist()


def test_channels_that_come_first_stay_first(client: headrace.Client) -> None:
    batch = next(iter(dataset(client, layout="NCHW", dtype="float32").to_torch()))
    assert batch["image"].shape == (8, 3, 16, 16)
    assert batch["image"].dtype == torch.float32
    assert batch["image"].is_contiguous()


def test_it_knows_its_length_in_batches(client: headrace.Client) -> None:
    assert len(dataset(client).to_torch()) == 12
    for kind in LOADERS:
        assert len(list(loader(dataset(client).to_torch(), kind))) == 12


@pytest.mark.parametrize("kind", LOADERS)
def test_several_epochs_in_one_pass(client: headrace.Client, kind: str) -> None:
    """12 batches an epoch do not divide by every number of workers: their turn goes on over the border."""
    batches = loader(dataset(client, epochs=2, batch_size=14).to_torch(), kind)
    first, second, third, fourth = plain(client, 4)
    assert [keys(batches), keys(batches)] == [first + second, third + fourth]


@pytest.mark.parametrize("kind", LOADERS)
def test_a_pass_that_is_left_early_begins_again(client: headrace.Client, kind: str) -> None:
    batches = loader(dataset(client, batch_size=1).to_torch(), kind)
    for _ in batches:
        break
    assert [keys(batches), keys(batches)] == plain(client, 2)


@pytest.mark.parametrize("kind", LOADERS)
def test_a_state_of_any_batch_resumes_exactly_after_it(client: headrace.Client, kind: str) -> None:
    train = dataset(client, epochs=2, batch_size=16)
    batches = list(loader(train.to_torch(), kind))
    assert len(batches) == 12
    for step, batch in enumerate(batches[:-1], 1):
        fresh = dataset(client, epochs=2, batch_size=16)
        fresh.load_state_dict(json.loads(json.dumps(train.state_dict(batch))))
        rest = keys(loader(fresh.to_torch(), kind)) if step % 4 == 1 else keys(fresh)
        assert rest == keys(batches[step:])


@pytest.mark.parametrize("kind", ["2 workers", "2 that persist"])
def test_a_state_without_a_batch_is_refused_where_batches_crossed_a_process(client: headrace.Client, kind: str) -> None:
    train = dataset(client)
    list(loader(train.to_torch(), kind))
    with pytest.raises(headrace.UsageError, match="state_dict\\(batch\\)"):
        train.state_dict()


@pytest.mark.parametrize("kind", LOADERS)
def test_set_epoch_and_load_state_dict_reach_the_workers(client: headrace.Client, kind: str) -> None:
    first, second, third = plain(client, 3)
    train = dataset(client)
    batches = loader(train.to_torch(), kind)
    assert keys(batches) == first
    train.set_epoch(2)
    assert keys(batches) == third
    train.set_epoch(0)
    received = list(batches)
    train.load_state_dict(train.state_dict(received[4]))
    assert [keys(batches), keys(batches)] == [first[5 * 8 :], second]


@pytest.mark.parametrize("tail", ["partial", "drop", "pad"])
def test_ranks_with_workers_share_an_epoch(client: headrace.Client, tail: Any) -> None:
    seen: list[str] = []
    for rank in range(3):
        mine = dataset(client, batch_size=7, rank=rank, world_size=3, tail=tail)
        for batch in loader(mine.to_torch(), "2 workers"):
            valid = batch["valid"].tolist() if tail == "pad" else [True] * len(batch["key"])
            seen += [key for key, real in zip(batch["key"], valid, strict=True) if real]
    assert len(seen) == len(set(seen)) == (84 if tail == "drop" else TRAIN)


def test_more_workers_than_batches_leave_some_idle(client: headrace.Client) -> None:
    batches = loader(dataset(client, batch_size=60).to_torch(), "3 workers")
    assert [keys(batches), keys(batches)] == plain(client, 2)


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("batch_size", [5, 10])
def test_replaced_samples_are_counted_by_all_workers_together(
    oddities: ServerProcess, kind: str, batch_size: int
) -> None:
    """Of 5 samples a batch, both of `damaged` are in one worker's batches; of 10, either worker has one."""
    with headrace.connect(oddities.url, wait=0) as client:
        damaged = loader(client.dataset("damaged", batch_size=batch_size).to_torch(), kind)
        assert [len(keys(damaged)) for _ in range(2)] == [200, 200]
        error = failure(loader(client.dataset("worse", batch_size=batch_size).to_torch(), kind))
        assert isinstance(error, headrace.TooManyReplaced)
        assert "more than the budget" in str(error)


def test_an_error_of_the_stream_surfaces_through_a_worker(client: headrace.Client, flowers: Any) -> None:
    transforms = '[{"name": "Resize", "size": [16, 16]}]'
    with (
        ServerProcess(flowers, "--transforms", transforms) as mine,
        headrace.connect(mine.url, wait=0) as own,
    ):
        batches = loader(dataset(own, batch_size=2).to_torch(), "2 workers")
        mine.stop()
        error = failure(batches)
        assert re.search(r"epoch 0, position \d.*no server answers", str(error))


def test_batches_stay_as_they_were_when_others_come(client: headrace.Client) -> None:
    kept = [(batch["image"], batch["image"].clone()) for batch in dataset(client, prefetch=1, epochs=2).to_torch()]
    assert all(torch.equal(image, copy) for image, copy in kept)
