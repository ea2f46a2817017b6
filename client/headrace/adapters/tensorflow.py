"""A dataset as a `tf.data.Dataset`."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from headrace_proto.plan import Output

from ..errors import UsageError
from ..fetch import VALID

try:
    import tensorflow as tf
except ImportError as error:
    raise UsageError('to_tf needs TensorFlow: pip install "headrace[tensorflow]"') from error

from .direct import iterated_directly
from .generator import Passes

if TYPE_CHECKING:
    from ..dataset import Dataset

_MOMENT = 0.2
"""Seconds."""


def to_tf(dataset: Dataset, *, repeat: bool) -> tf.data.Dataset:
    """The pipeline: batches that were received ahead, handed out one by one, and noted as received then.

    The client's own thread has prefetched them, into the memory that TensorFlow adopts. There is no prefetch of
    TensorFlow's behind it: it would save nothing but the hand-over, cost one more, and count batches that the trainer
    has not got.
    """
    columns = [output for output in dataset.outputs if output.name in ("image", "label")]
    if dataset.sharding.tail == "pad":
        columns.append(Output(VALID, "bool", ()))
    at_beginning = _at_beginning(dataset)

    def generate() -> Generator[Any, None, None]:
        if at_beginning and not repeat and not _at_beginning(dataset):
            raise UsageError("the state was loaded after to_tf() had counted a full epoch; call to_tf() again after it")
        return _batches(dataset, columns, forever=repeat)

    signature = _signature(dataset, columns)
    passes = Passes(generate, signature if len(columns) > 1 else signature[0])
    batches = passes.dataset()
    if repeat:
        batches = batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    elif at_beginning:
        batches = batches.apply(tf.data.experimental.assert_cardinality(len(dataset)))
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return iterated_directly(batches.with_options(options), passes)


def _at_beginning(dataset: Dataset) -> bool:
    """Whether the next pass is a full one, so that its length is known."""
    start = dataset.start.position
    return start.samples == 0 and start.epoch % (dataset.options.epochs or 1) == 0


def _batches(dataset: Dataset, columns: list[Output], *, forever: bool) -> Generator[Any, None, None]:
    """A pass's batches; and None whenever there was none for a moment.

    TensorFlow cannot end a pipeline while its generator waits, as it may in a thread that a user's own prefetch has
    started; nor can Ctrl-C.
    """
    start = dataset.start
    with dataset.prefetched(start, forever=forever) as ready:
        batches = dataset.budget().watch(ready, start)
        while True:
            asked = time.time()
            while not ready.wait(_MOMENT):
                yield None
            batch = next(batches, None)
            if batch is None:
                break
            dataset.receive(batch.state, len(batch.replaced), asked, len(batch["image"]), batch.nbytes)
            yield tuple(batch[column.name] for column in columns)
    dataset.finish_pass(start)


def _signature(dataset: Dataset, columns: list[Output]) -> tuple[tf.TensorSpec, ...]:
    """The columns, with the number of samples in a batch where it is always the same."""
    sharding = dataset.sharding
    fixed = sharding.tail != "partial" or sharding.samples % sharding.step == 0
    size = sharding.batch_size if fixed else None
    return tuple(tf.TensorSpec((size, *column.shape), column.dtype, name=column.name) for column in columns)
