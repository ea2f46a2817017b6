"""What each stage of a tf.data pipeline costs the trainer for every batch, with next to nothing in the batches.

`python -m benchmarks.tf_stages` prints CPU time per batch at full speed, and at 72 batches a second, which is what
2,300 images a second are in batches of 32: then every stage is woken from sleep, with cold caches, and costs several
times more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import numpy as np
import tensorflow as tf

_WARM, _BATCHES, _PACED_BATCHES, _RATE = 50, 2000, 300, 72.0
_IMAGE, _LABEL, _RECEIPT = np.zeros((32, 8, 8, 3), np.uint8), np.zeros(32, np.int64), np.zeros(5, np.int64)
_SPECS = tuple(tf.TensorSpec(array.shape, array.dtype) for array in (_IMAGE, _LABEL, _RECEIPT))


def _paced(rate: float | None) -> Iterator[None]:
    due = time.perf_counter()
    while True:
        if rate is not None:
            due += 1 / rate
            time.sleep(max(0.0, due - time.perf_counter()))
        yield


def _generated(count: int, rate: float | None) -> tf.data.Dataset:
    def batches() -> Iterator[Any]:
        for _ in _paced(rate):
            yield (_IMAGE, _LABEL, _RECEIPT)[:count] if count > 1 else _IMAGE

    return tf.data.Dataset.from_generator(batches, output_signature=_SPECS[:count] if count > 1 else _SPECS[0])


def _noted(dataset: tf.data.Dataset) -> tf.data.Dataset:
    def note(*columns: Any) -> Any:
        noted = tf.numpy_function(lambda _: np.int64(0), [columns[-1]], tf.int64)
        with tf.control_dependencies([noted]):
            return tf.identity(columns[0]), *columns[1:]

    return dataset.map(note)


def _clocked(dataset: tf.data.Dataset) -> tf.data.Dataset:
    clock = tf.data.Dataset.counter().map(lambda _: tf.timestamp())
    return tf.data.Dataset.zip((clock, dataset)).map(lambda _, columns: columns)


_STAGES: dict[str, Callable[[float | None], tf.data.Dataset]] = {
    "from_generator, one array": lambda rate: _generated(1, rate),
    "from_generator, three arrays": lambda rate: _generated(3, rate),
    "... prefetch": lambda rate: _generated(3, rate).prefetch(tf.data.AUTOTUNE),
    "... prefetch, filter": lambda rate: _generated(3, rate).prefetch(tf.data.AUTOTUNE).filter(lambda *c: c[2][0] >= 0),
    "... prefetch, numpy_function": lambda rate: _noted(_generated(3, rate).prefetch(tf.data.AUTOTUNE)),
    "... prefetch, clock": lambda rate: _clocked(_generated(3, rate).prefetch(tf.data.AUTOTUNE)),
}


def _cost(dataset: tf.data.Dataset, batches: int) -> float:
    """Microseconds of CPU time per batch."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.experimental_optimization.inject_prefetch = False
    iterator = iter(dataset.with_options(options))
    for _ in range(_WARM):
        next(iterator)
    began = time.process_time()
    for _ in range(batches):
        next(iterator)
    return (time.process_time() - began) / batches * 1e6


def main() -> None:
    print(f"{'us of CPU per batch':34}{'full speed':>12}{f'{_RATE:.0f} a second':>14}")
    for name, stage in _STAGES.items():
        print(f"{name:34}{_cost(stage(None), _BATCHES):12.0f}{_cost(stage(_RATE), _PACED_BATCHES):14.0f}")


if __name__ == "__main__":
    main()
