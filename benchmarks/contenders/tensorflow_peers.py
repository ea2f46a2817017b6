"""TensorFlow's own ways to feed a trainer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import steps


def taken(dataset: Any) -> Iterator[tuple[int, int]]:
    """Takes the batches as a training loop does, and counts images and bytes.

    By the tensor's memory: its `shape` is made anew whenever it is asked for, in 20 calls that no training needs.
    """
    for batch in dataset:
        images = memoryview(batch[0])
        yield len(images), images.nbytes


def in_memory(folder: str) -> Iterator[tuple[int, int]]:
    yield from taken(steps.in_memory(folder))


def local(folder: str) -> Iterator[tuple[int, int]]:
    yield from taken(steps.paths_and_map(folder))


def generator(folder: str, latency: float = 0.0) -> Iterator[tuple[int, int]]:
    yield from taken(steps.generator(folder, _reader(latency)))


def generator_with_thread(folder: str, latency: float = 0.0) -> Iterator[tuple[int, int]]:
    yield from taken(steps.generator_with_thread(folder, _reader(latency)))


def from_headrace(address: str, dataset: str) -> Iterator[tuple[int, int]]:
    yield from taken(steps.from_headrace(address, dataset))


def service(address: str, folder: str, compression: str | None) -> Iterator[tuple[int, int]]:
    """tf.data service makes what `local` makes; compression is None or "AUTO", its default."""
    yield from taken(_distributed(steps.paths_and_map(folder), address, compression))


def service_ready(address: str, arrays: str, compression: str | None, batch_size: int) -> Iterator[tuple[int, int]]:
    """tf.data service slices arrays that it has in memory, and batches them in shuffled order."""
    images = np.load(Path(arrays) / "image.npy")
    labels = np.load(Path(arrays) / "label.npy")
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images)).repeat().batch(batch_size)
    yield from taken(_distributed(dataset.prefetch(tf.data.AUTOTUNE), address, compression))


def service_gathered(address: str, arrays: str, compression: str | None, batch_size: int) -> Iterator[tuple[int, int]]:
    """The same, but a whole batch is gathered by one operation."""
    images = tf.constant(np.load(Path(arrays) / "image.npy"))
    labels = tf.constant(np.load(Path(arrays) / "label.npy"))
    order = tf.data.Dataset.range(len(images)).shuffle(len(images)).repeat().batch(batch_size)
    dataset = order.map(lambda ids: (tf.gather(images, ids), tf.gather(labels, ids)), tf.data.AUTOTUNE)
    yield from taken(_distributed(dataset.prefetch(tf.data.AUTOTUNE), address, compression))


def _distributed(dataset: Any, address: str, compression: str | None) -> Any:
    api = tf.data.experimental.service
    remote = api.distribute(api.ShardingPolicy.OFF, address, compression=compression)
    return dataset.apply(remote).prefetch(tf.data.AUTOTUNE)


def _reader(latency: float) -> steps.Read:
    def read(path: Path) -> bytes:
        time.sleep(latency)
        return path.read_bytes()

    return read if latency else Path.read_bytes
