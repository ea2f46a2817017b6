"""A dataset as a torch `IterableDataset`."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from ..batch import Batch
from ..errors import UsageError
from ..positions import Position
from ..state import State

try:
    import torch
    import torch.utils.data
except ImportError as error:
    raise UsageError('to_torch needs PyTorch: pip install "headrace[torch]"') from error

if TYPE_CHECKING:
    from ..dataset import Dataset


def to_torch(dataset: Dataset) -> TorchBatches:
    """An iterable of batches of tensors, for the process that it is iterated in and for a DataLoader's workers."""
    return TorchBatches(dataset)


class TorchBatches(torch.utils.data.IterableDataset[dict[str, Any]]):
    """Finished batches, as dicts of tensors with the images channels first; "key" is a list of str.

    In a DataLoader with W workers, worker w takes the batches w mod W over connections of its own, and all agree on the
    epoch. Use `batch_size=None`: the batches are made already.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset: Dataset | None = dataset
        self._recipe = dataset.recipe()
        self._shared = SharedStart(dataset.start)
        dataset.follow(self._shared)

    def __len__(self) -> int:
        """The batches of one full pass."""
        return self._recipe.length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = torch.utils.data.get_worker_info()
        if worker is not None:
            yield from self._share_of(worker)
            return
        if self._dataset is None:
            raise UsageError("to_torch()'s dataset was copied to another process; iterate it in a DataLoader's workers")
        layout = self._recipe.layout
        with contextlib.closing(self._dataset.batches()) as batches:
            for batch in batches:
                yield _tensors(batch, layout)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_dataset": None}  # connections stay where they are

    def _share_of(self, worker: Any) -> Iterator[dict[str, Any]]:
        """This worker's batches, over a connection that is opened here, after the fork."""
        self._passes = getattr(self, "_passes", 0) + 1
        identity = (worker.seed - worker.id, self._passes)
        with self._recipe.open() as dataset:
            start = self._shared.begin(identity, worker.id, worker.num_workers, dataset.last_epoch)
            mine = dataset.unreceived(
                start,
                first=worker.id,
                every=worker.num_workers,
                elsewhere=partial(self._shared.replaced_elsewhere, worker.id),
            )
            with contextlib.closing(mine) as batches:
                for batch in batches:
                    yield _tensors(batch, self._recipe.layout)
            self._shared.end(identity, worker.id)


class SharedStart:
    """Where the next pass begins, in memory that a DataLoader's workers share.

    A pass is known by the seed that a DataLoader gives to all workers of a pass, and its number in a persistent worker.
    The first worker of a new pass decides: the next epoch if all ended the pass before, the same one otherwise.
    """

    _EPOCH, _SAMPLES, _REPLACED, _SEED, _PASS, _WORKERS, _NEXT, _ENDED = range(8)
    _MOST_WORKERS = 1024

    def __init__(self, start: State) -> None:
        self._cells = torch.zeros(self._ENDED + self._MOST_WORKERS, dtype=torch.int64)
        self._cells.share_memory_()  # type: ignore[no-untyped-call]
        # By worker: the epoch in which it last saw samples replaced, and how many.
        self._replaced = torch.zeros((self._MOST_WORKERS, 2), dtype=torch.int64)
        self._replaced.share_memory_()  # type: ignore[no-untyped-call]
        self._lock = multiprocessing.get_context("spawn").Lock()  # the kind that passes both a fork and a spawn
        self.begin_at(start)

    @property
    def used(self) -> bool:
        """Whether worker processes have begun a pass since the start was set."""
        return bool(self._cells[self._WORKERS])

    def begin_at(self, start: State) -> None:
        """The next pass, whichever it is, begins at `start`."""
        with self._lock:
            self._cells.zero_()
            self._replaced.zero_()
            self._write(start)

    def begin(self, identity: tuple[int, int], worker: int, workers: int, last_epoch: Callable[[int], int]) -> State:
        """A worker begins a pass; returns where."""
        cells = self._cells
        with self._lock:
            same = (int(cells[self._SEED]), int(cells[self._PASS])) == identity and self.used
            ended = self.used and bool(cells[self._ENDED : self._ENDED + int(cells[self._WORKERS])].all())
            if ended:
                self._write(State(Position(int(cells[self._NEXT]), 0)))
            if ended or not same:
                cells[self._ENDED :] = 0
                self._replaced.zero_()
                cells[self._SEED], cells[self._PASS] = identity
                cells[self._WORKERS] = workers
                cells[self._NEXT] = last_epoch(int(cells[self._EPOCH])) + 1
            cells[self._ENDED + worker] = 0
            return self._read()

    def end(self, identity: tuple[int, int], worker: int) -> None:
        """A worker has handed out its last batch of a pass."""
        with self._lock:
            if (int(self._cells[self._SEED]), int(self._cells[self._PASS])) == identity:
                self._cells[self._ENDED + worker] = 1

    def replaced_elsewhere(self, worker: int, epoch: int, replaced: int) -> int:
        """Notes what a worker saw replaced in an epoch; returns what all the others did."""
        with self._lock:
            self._replaced[worker] = torch.tensor((epoch, replaced), dtype=torch.int64)
            return int(self._replaced[self._replaced[:, 0] == epoch, 1].sum()) - replaced

    def _read(self) -> State:
        epoch, samples, replaced = (int(cell) for cell in self._cells[: self._SEED])
        return State(Position(epoch, samples), replaced)

    def _write(self, start: State) -> None:
        values = (start.position.epoch, start.position.samples, start.replaced)
        self._cells[: self._SEED] = torch.tensor(values, dtype=torch.int64)


def _tensors(batch: Batch, layout: str) -> Batch:
    """The same memory as tensors; NHWC images are viewed channels first, which torch calls channels_last."""
    columns: dict[str, Any] = {}
    for name, column in batch.items():
        if column.dtype.kind == "U":
            columns[name] = column.tolist()
            continue
        tensor = torch.from_numpy(column)
        columns[name] = tensor.permute(0, 3, 1, 2) if name == "image" and layout == "NHWC" else tensor
    tensors = Batch.of(columns, batch.end, batch.replaced)
    tensors.replaced_in_epoch = batch.replaced_in_epoch
    return tensors
