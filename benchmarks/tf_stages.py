"""What each stage of a tf.data pipeline costs the trainer for every batch, with next to nothing in the batches.

`python -m benchmarks.tf_stages` prints CPU time per batch at full speed, and at 72 batches a second, which is what
2,300 images a second are in batches of 32: then every stage is woken from sleep, with cold caches, and costs several
times more.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import numpy as np
import tensorflow as tf

from headrace.adapters.direct import iterated_directly
from headrace.adapters.generator import Passes

_WARM, _BATCHES, _PACED_BATCHES, _RATE = 50, 2000, 300, 72.0
_ARRAYS = (np.zeros((32, 8, 8, 3), np.uint8), np.zeros(32, np.int64))
_SPECS = tuple(tf.TensorSpec(array.shape, array.dtype) for array in _ARRAYS)


def _paced(rate: float | None) -> Iterator[None]:
    due = time.perf_counter()
    while True:
        if rate is not None:
            due += 1 / rate
            time.sleep(max(0.0, due - time.perf_counter()))
        yield


def _nothing() -> tf.data.Dataset:
    return _plain(tf.data.Dataset.from_tensors(_ARRAYS).repeat())


def _generated() -> tf.data.Dataset:
    return _plain(tf.data.Dataset.from_generator(_batches, output_signature=_SPECS))


def _directly() -> tf.data.Dataset:
    passes = Passes(_batches, _SPECS)
    return iterated_directly(passes.dataset(), passes)


def _in_pipeline() -> tf.data.Dataset:
    return Passes(_batches, _SPECS).dataset()


def _prefetched() -> tf.data.Dataset:
    return _plain(_in_pipeline().prefetch(tf.data.AUTOTUNE))


def _plain(dataset: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    options.experimental_optimization.map_parallelization = False
    return dataset.with_options(options)


def _batches() -> Generator[Any, None, None]:
    while True:
        yield _ARRAYS


_STAGES: dict[str, Callable[[], tf.data.Dataset]] = {
    "to_tf's, without a pipeline": _directly,
    "constants, no generator": _nothing,
    "TensorFlow's from_generator": _generated,
    "to_tf's, in the asking thread": _in_pipeline,
    "... and a prefetch behind": _prefetched,
}


def _cost(dataset: tf.data.Dataset, batches: int, rate: float | None) -> float:
    """Microseconds of CPU time per batch."""
    iterator = iter(dataset)
    for _ in range(_WARM):
        next(iterator)
    began = time.process_time()
    for _ in itertools.islice(_paced(rate), batches):
        next(iterator)
    return (time.process_time() - began) / batches * 1e6


def main() -> None:
    print(f"{'us of CPU per batch':34}{'full speed':>12}{f'{_RATE:.0f} a second':>14}")
    for name, stage in _STAGES.items():
        full, paced = _cost(stage(), _BATCHES, None), _cost(stage(), _PACED_BATCHES, _RATE)
        print(f"{name:34}{full:12.0f}{paced:14.0f}")


if __name__ == "__main__":
    main()
