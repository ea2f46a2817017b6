"""Training that is broken off and goes on from its checkpoint ends as training that was not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import ServerProcess, wait_until_nothing_is_prefetched

import headrace

keras = pytest.importorskip("keras")


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    wait_until_nothing_is_prefetched()


class BrokenOff(Exception):
    pass


class BreakAt(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, batch: int) -> None:
        super().__init__()
        self._left = batch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._left -= 1
        if not self._left:
            raise BrokenOff


def model() -> Any:
    keras.utils.set_random_seed(7)
    made = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    made.compile(keras.optimizers.SGD(1e-7, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return made


def dataset(client: headrace.Client) -> headrace.Dataset:
    return client.dataset("flowers", split="train", batch_size=8, shuffle=True, seed=5)


def fit(made: Any, train: headrace.Dataset, *callbacks: Any) -> None:
    """Up to epoch 2, an epoch at a time, as `Dataset.checkpoint` has it."""
    while train.epoch < 2:
        more = {"initial_epoch": train.epoch, "epochs": train.epoch + 1, "callbacks": [*callbacks]}
        made.fit(train.to_tf(), shuffle=False, verbose=0, **more)


def weights(made: Any) -> list[Any]:
    return [np.asarray(value) for value in made.get_weights()]


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # at the end of what is left of an epoch
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # Keras's, of NumPy 2
@pytest.mark.parametrize("broken_at", [1, 5, 12, 13, 20])
def test_a_run_that_is_broken_off_anywhere_ends_as_one_that_is_not(
    server: ServerProcess, tmp_path: Path, broken_at: int
) -> None:
    with headrace.connect(server.url) as client:
        whole, train = model(), dataset(client)
        fit(whole, train)

        first, train = model(), dataset(client)
        saving = train.checkpoint(tmp_path, save_every=1)
        with pytest.raises(BrokenOff):
            fit(first, train, saving, BreakAt(broken_at))

        again, train = model(), dataset(client)
        saving = train.checkpoint(tmp_path, save_every=1)
        assert train.state_dict()["epoch"] * 12 + train.state_dict()["samples"] // 8 == broken_at
        fit(again, train, saving)
        assert train.epoch == 2
    for one, other in zip(weights(whole), weights(again), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    assert len(list(tmp_path.glob("*.weights.h5"))) == 1


def test_a_folder_with_something_else_is_refused(server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "headrace.json").write_text(json.dumps({"weights": "a"}))
    with headrace.connect(server.url) as client, pytest.raises(headrace.UsageError, match=r"headrace\.json"):
        dataset(client).checkpoint(tmp_path)
