"""What the trainer gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace_proto import arrays, messages
from headrace_proto.messages import Replaced

from .positions import Position
from .state import State


class Batch(dict[str, Any]):
    """A batch: a dict of arrays by column, whose first axis is the sample.

    Attributes:
        end: where training stands once this batch is consumed; `Dataset.state_dict(batch)` saves it.
        replaced: the samples that could not be decoded, and those in their places.
    """

    end: Position
    replaced: tuple[Replaced, ...] = ()
    replaced_in_epoch: int = 0
    """Of the epoch that `end` is in, up to there; counted from this rank's batches, or this worker's."""

    @classmethod
    def of(cls, columns: dict[str, Any], end: Position, replaced: Sequence[Replaced] = ()) -> Batch:
        batch = cls(columns)
        batch.end, batch.replaced = end, tuple(replaced)
        return batch

    @property
    def state(self) -> State:
        """The place after this batch."""
        return State(self.end, self.replaced_in_epoch)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(getattr(column, "nbytes", 0) for column in self.values())


def columns_of(message: messages.Batch, payload: memoryview) -> dict[str, Any]:
    """The arrays of a frame; tensors share the payload's memory, strings are an array of str."""
    columns: dict[str, Any] = dict(arrays.views(message.tensors, payload))
    for name, values in message.strings.items():
        columns[name] = np.array(values, dtype=np.str_)
    return columns
