"""headrace on the trainer's side, as a `tf.data.Dataset`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

import headrace
from benchmarks.contenders.tensorflow_peers import taken


def to_tf(
    address: str, dataset: str, batch_size: int = 32, transforms: list[dict[str, Any]] | None = None
) -> Iterator[tuple[int, int]]:
    """A loop in Python."""
    with headrace.connect(address, wait=10) as client:
        data = client.dataset(dataset, batch_size=batch_size, transforms=transforms, shuffle=True)
        yield from taken(data.to_tf(repeat=True))


def in_a_function(
    address: str, dataset: str, batch_size: int = 32, transforms: list[dict[str, Any]] | None = None
) -> Iterator[tuple[int, int]]:
    """As `model.fit` does it: a `tf.function` asks the iterator for every batch."""
    following = tf.function(lambda iterator: next(iterator))
    with headrace.connect(address, wait=10) as client:
        data = client.dataset(dataset, batch_size=batch_size, transforms=transforms, shuffle=True)
        iterator = iter(data.to_tf(repeat=True))
        yield from taken(following(iterator) for _ in itertools.count())
