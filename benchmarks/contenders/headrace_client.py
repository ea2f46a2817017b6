"""headrace on the trainer's side, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import headrace


def arrays(
    address: str,
    dataset: str,
    batch_size: int = 32,
    transforms: list[dict[str, Any]] | None = None,
    seed: int = 0,
    epoch: int = 0,
) -> Iterator[tuple[int, int]]:
    with headrace.connect(address, wait=10) as client:
        data = client.dataset(dataset, batch_size=batch_size, transforms=transforms, shuffle=True, seed=seed)
        data.set_epoch(epoch)
        for batch in data.batches(forever=True):
            yield len(batch["image"]), batch["image"].nbytes


def epochs(
    address: str, dataset: str, transforms: list[dict[str, Any]], epoch: int = 0, batch_size: int = 32
) -> Iterator[tuple[int, int]]:
    """Whole epochs, one item for each."""
    with headrace.connect(address, wait=10) as client:
        data = client.dataset(dataset, batch_size=batch_size, transforms=transforms, shuffle=True)
        data.set_epoch(epoch)
        while True:
            images = nbytes = 0
            for batch in data:
                images, nbytes = images + len(batch["image"]), nbytes + batch["image"].nbytes
            yield images, nbytes
