"""headrace on the trainer's side, as a `tf.data.Dataset`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import headrace
from benchmarks.contenders.tensorflow_peers import taken


def to_tf(
    address: str, dataset: str, batch_size: int = 32, transforms: list[dict[str, Any]] | None = None
) -> Iterator[tuple[int, int]]:
    with headrace.connect(address, wait=10) as client:
        data = client.dataset(dataset, batch_size=batch_size, transforms=transforms, shuffle=True)
        yield from taken(data.to_tf(repeat=True))
