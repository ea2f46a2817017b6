"""From a batch's samples to its frame: the room that they are made in, and the header that says what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace_proto import arrays, frame, messages
from headrace_proto.buffers import BufferPool

from .frames import Frame
from .index import text_of
from .plans import KEY, LABEL, ResolvedPlan
from .samples import Made


class Room:
    """Memory for a batch's columns, and the labels in it; `columns` are (count, *shape) arrays by name."""

    def __init__(
        self, plan: ResolvedPlan, ids: NDArray[np.int64], buffers: BufferPool, images: Sequence[memoryview] = ()
    ) -> None:
        """The payload's first column, `images`, may be there already, in parts."""
        self.tensors, nbytes = arrays.describe(plan.info.outputs, len(ids))
        there = sum(part.nbytes for part in images)
        tensors = [{**tensor, "offset": tensor["offset"] - there} for tensor in self.tensors[bool(images) :]]
        payload = _zero_gaps(buffers.get(nbytes - there), tensors)
        self.payload = [*images, payload.data] if payload.nbytes else [*images]
        self.columns = arrays.views(tensors, payload.data)
        self._plan, self._ids = plan, ids
        if LABEL in plan.info.outputs:
            self.columns[LABEL.name][:] = plan.index.labels(ids)

    def pack(self, epoch: int, start: int, replaced: Mapping[int, Made], *, checksum: bool) -> Frame:
        """The frame of the batch that begins at position `start`; its samples are made, some in place of others."""
        index, info = self._plan.index, self._plan.info
        keys = [text_of(key) for key in index.keys(self._ids.tolist())]
        replacements = []
        for row, made in sorted(replaced.items()):
            assert made.reason is not None
            key, by = keys[row], text_of(index.key(made.sample))
            replacements.append(messages.Replaced(start + row, key[0], by[0], made.reason))
            keys[row] = by
            if LABEL in info.outputs:
                self.columns[LABEL.name][row] = index.labels(np.array([made.sample]))[0]
        escaped = [row for row, (_, is_escaped) in enumerate(keys) if is_escaped]
        batch = messages.Batch(
            plan=info.id,
            engine=info.engine,
            epoch=epoch,
            start=start,
            count=len(self._ids),
            tensors=self.tensors,
            strings={KEY.name: [text for text, _ in keys]},
            escaped={KEY.name: escaped} if escaped else {},
            replaced=replacements,
        )
        return Frame(batch, frame.pack_head(batch.header(), self.payload, checksum=checksum), self.payload)


def _zero_gaps(payload: NDArray[np.uint8], tensors: list[dict[str, Any]]) -> NDArray[np.uint8]:
    """Every byte of a frame is a function of its address, the padding too."""
    end = 0
    for tensor in tensors:
        payload[end : tensor["offset"]] = 0
        end = tensor["offset"] + tensor["length"]
    return payload
