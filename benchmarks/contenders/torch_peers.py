"""PyTorch's DataLoader and WebDataset, each with two worker processes, decoding as fast as they can be made to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

WORKERS = 2


def _decoded(data: bytes) -> Any:
    return cv2.resize(simplejpeg.decode_jpeg(data), (224, 224))


class _Files(Dataset[Any]):
    def __init__(self, folder: str) -> None:
        self.paths = sorted(Path(folder).rglob("*.jpg"))
        classes = sorted({path.parent.name for path in self.paths})
        self.labels = [classes.index(path.parent.name) for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return _decoded(self.paths[index].read_bytes()), self.labels[index]


class _Endless(Sampler[int]):
    """Epoch after epoch, so that the workers never wait for one to begin."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __iter__(self) -> Iterator[int]:
        while True:
            yield from torch.randperm(self._count).tolist()


def data_loader(folder: str, batch_size: int = 32) -> Iterator[tuple[int, int]]:
    files = _Files(folder)
    cv2.setNumThreads(1)
    loader = DataLoader(files, batch_size, sampler=_Endless(len(files)), num_workers=WORKERS, prefetch_factor=4)
    for images, _ in loader:
        yield len(images), images.nbytes


def web_dataset(shards: str, batch_size: int = 32) -> Iterator[tuple[int, int]]:
    import webdataset as wds

    cv2.setNumThreads(1)
    urls = [str(path) for path in sorted(Path(shards).glob("*.tar"))]
    dataset = wds.WebDataset(urls, resampled=True, shardshuffle=False)
    dataset = dataset.shuffle(500).to_tuple("jpg", "cls").map_tuple(_decoded, int).batched(batch_size, partial=False)
    for images, _ in wds.WebLoader(dataset, batch_size=None, num_workers=WORKERS, prefetch_factor=4):
        array = np.asarray(images)
        yield len(array), array.nbytes
