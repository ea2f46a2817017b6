"""A dataset as a `tf.data.Dataset`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace_proto.plan import Output

from .. import interrupts
from ..batch import Batch
from ..errors import UsageError
from ..fetch import VALID
from ..positions import Position
from ..state import State

try:
    import tensorflow as tf
except ImportError as error:
    raise UsageError('to_tf needs TensorFlow: pip install "headrace[tensorflow]"') from error

if TYPE_CHECKING:
    from ..dataset import Dataset

_RECEIPT = 5
"""Numbers that go through the pipeline beside a batch: the state after it (epoch, samples, replaced), its bytes, and
how many of its samples were replaced."""

_MOMENT = 0.2
"""Seconds."""


def to_tf(dataset: Dataset, *, repeat: bool) -> tf.data.Dataset:
    """The pipeline: batches from the stream, prefetched, and noted as received when the trainer takes them."""
    columns = [output for output in dataset.outputs if output.name in ("image", "label")]
    if dataset.sharding.tail == "pad":
        columns.append(Output(VALID, "bool", ()))
    count = len(dataset)
    at_beginning = _at_beginning(dataset)

    def generate() -> Iterator[Any]:
        start = dataset.start
        if at_beginning and not repeat and not _at_beginning(dataset):
            raise UsageError("the state was loaded after to_tf() had counted a full epoch; call to_tf() again after it")
        empty = True
        for batch in _or_nothing(dataset, start, forever=repeat):
            if batch is None:
                yield nothing
            else:
                empty = False
                yield _receipt(batch), tuple(batch[column.name] for column in columns)
        if empty:  # otherwise the pass is over when the trainer takes the last
            dataset.finish_pass(start)

    interrupts.watch()
    nothing = _nothing(columns)
    batches = tf.data.Dataset.from_generator(generate, output_signature=_signature(columns))
    batches = batches.filter(lambda receipt, _: receipt[0] >= 0).prefetch(tf.data.AUTOTUNE)
    # A batch counts when the trainer takes it, so the count comes after the prefetching; the clock is read before.
    clock = tf.data.Dataset.counter().map(lambda _: tf.timestamp())
    received = tf.data.Dataset.zip((clock, batches)).map(_receiver(dataset, columns))
    if repeat:
        received = received.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    elif at_beginning:
        received = received.apply(tf.data.experimental.assert_cardinality(count))
    return received.with_options(_options())


def _at_beginning(dataset: Dataset) -> bool:
    """Whether the next pass is a full one, so that its length is known."""
    start = dataset.start.position
    return start.samples == 0 and start.epoch % (dataset.options.epochs or 1) == 0


def _or_nothing(dataset: Dataset, start: State, *, forever: bool) -> Iterator[Batch | None]:
    """A pass's batches, and None whenever there was none for a moment.

    TensorFlow cannot end a pipeline while its generator waits; and while the main thread waits for the pipeline, Ctrl-C
    is for the generator to notice.
    """
    pressed = interrupts.count()
    with dataset.prefetched(start, forever=forever) as ready:
        batches = dataset.budget().watch(ready, start)
        while True:
            while not ready.wait(_MOMENT):
                if interrupts.count() > pressed:
                    raise KeyboardInterrupt
                yield None
            batch = next(batches, None)
            if batch is None:
                return
            yield batch


def _nothing(columns: list[Output]) -> Any:
    """Stands in the pipeline for a batch that is not there yet, and is filtered out."""
    return np.full(_RECEIPT, -1, np.int64), tuple(np.zeros((0, *column.shape), column.dtype) for column in columns)


def _signature(columns: list[Output]) -> Any:
    specs = tuple(tf.TensorSpec((None, *column.shape), column.dtype, name=column.name) for column in columns)
    return tf.TensorSpec((_RECEIPT,), tf.int64), specs


def _receipt(batch: Batch) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([*batch.end, batch.replaced_in_epoch, batch.nbytes, len(batch.replaced)], np.int64)


def _receiver(dataset: Dataset, outputs: list[Output]) -> Any:
    sharding = dataset.sharding
    fixed = sharding.tail != "partial" or sharding.samples % sharding.step == 0
    size = sharding.batch_size if fixed else None

    def receive(asked: float, receipt: Any, images: Any) -> np.int64:
        epoch, samples, replaced_in_epoch, nbytes, replaced = (int(number) for number in receipt)
        state = State(Position(epoch, samples), replaced_in_epoch)
        dataset.receive(state, replaced, float(asked), int(images), nbytes)
        return np.int64(0)

    def note(asked: Any, item: Any) -> Any:
        receipt, columns = item
        for column, output in zip(columns, outputs, strict=True):
            column.set_shape((size, *output.shape))
        noted = tf.numpy_function(receive, (asked, receipt, tf.shape(columns[0])[0]), tf.int64)
        with tf.control_dependencies([noted]):
            first = tf.identity(columns[0])  # shares the buffer
        return first if len(columns) == 1 else (first, *columns[1:])

    return note


def _options() -> tf.data.Options:
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # More threads only wake and spin: this pipeline does one thing after the other, and little of it.
    options.threading.private_threadpool_size = 1
    # A prefetch behind the receiver would count batches that the trainer has not got.
    options.experimental_optimization.inject_prefetch = False
    return options
