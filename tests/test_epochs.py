"""Epoch after epoch: the next one's stream is opened before this one ends, and nothing is left open."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from harness import ServerProcess

import headrace
from headrace.endpoint import Endpoint
from headrace.epochs import epochs
from headrace.fetch import Fetcher, Frames, Order
from headrace.positions import Position, Slice


class Watched(Fetcher):
    """Notes the epochs of the streams that it opens."""

    def __init__(self, dataset: headrace.Dataset) -> None:
        super().__init__(dataset._servers, Order(dataset._plan, dataset.info, dataset.sharding), dataset._pace)
        self.opened: list[int] = []

    def stream(
        self, endpoint: Endpoint, first: Slice, stop: int, stride: int
    ) -> contextlib.AbstractContextManager[Frames]:
        self.opened.append(first.epoch)
        return super().stream(endpoint, first, stop, stride)


@pytest.fixture
def fetcher(server: ServerProcess) -> Iterator[Watched]:
    """30 batches an epoch."""
    with headrace.connect(server.url, wait=0) as client:
        yield Watched(client.dataset("flowers", split="train", batch_size=3))


def test_the_next_epoch_is_begun_before_this_one_ends_and_the_one_after_it_is_not(fetcher: Watched) -> None:
    batches = epochs(fetcher, Position(0, 0), 2, 0, 1)
    opened = [(batch.end, list(fetcher.opened)) for batch in batches]
    assert len(opened) == 90
    assert opened[20][1] == [0]
    assert opened[28][1] == [0, 1]
    assert opened[50][1] == [0, 1]
    assert opened[89][1] == [0, 1, 2]
    assert not fetcher._responses


def test_leaving_near_an_epochs_end_leaves_no_response_open(fetcher: Watched) -> None:
    with contextlib.closing(epochs(fetcher, Position(0, 0), None, 0, 1)) as batches:
        for _ in range(29):
            next(batches)
        assert len(fetcher._responses) == 2
    assert not fetcher._responses


@pytest.mark.parametrize("batch_size", [1, 7, 89, 90, 91, 200])
@pytest.mark.parametrize("tail", ["partial", "drop", "pad"])
def test_epochs_of_one_pass_are_those_of_several(server: ServerProcess, batch_size: int, tail: str) -> None:
    with headrace.connect(server.url, wait=0) as client:
        options = {"split": "train", "batch_size": batch_size, "shuffle": True, "tail": tail}
        several = client.dataset("flowers", **options)
        expected = [(batch["key"].tolist(), batch.end) for _ in range(3) for batch in several]
        one = client.dataset("flowers", epochs=3, **options)
        assert [(batch["key"].tolist(), batch.end) for batch in one] == expected


def test_an_epoch_that_cannot_be_opened_early_costs_no_batch_of_the_one_before(fetcher: Watched) -> None:
    class Refused(Watched):
        def stream(
            self, endpoint: Endpoint, first: Slice, stop: int, stride: int
        ) -> contextlib.AbstractContextManager[Frames]:
            if first.epoch:
                raise headrace.StreamBroken("refused", first.epoch, first.start)
            return super().stream(endpoint, first, stop, stride)

    fetcher.__class__ = Refused
    batches = epochs(fetcher, Position(0, 0), 1, 0, 1)
    assert len([next(batches) for _ in range(30)]) == 30
    with pytest.raises(headrace.StreamBroken, match="refused"):
        next(batches)
