"""A batch's samples read ahead, in whichever way suits their source and the storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .address import Address
from .decode import Decoded
from .errors import SampleUnavailable
from .file_reads import FileRead
from .index import text_of
from .reading import Turn
from .samples import Material, TooLarge
from .sources.folder import FolderSource
from .workshop import Workshop

_TOGETHER_BYTES = 2**20
"""What a task reads before it decodes it; that should still be in the processor's caches by then."""


class Taker(Protocol):
    """Whose samples are read. It is told from the threads that read."""

    @property
    def wanted(self) -> bool:
        """Whether there is still a point in reading."""
        ...

    def take(self, found: Mapping[int, Material], errors: Mapping[int, Exception]) -> None:
        """What was read, and what could not be, by row."""
        ...

    def give_up(self, row: int, error: Exception) -> None:
        """A read takes longer than it may, and may never end."""
        ...


@dataclass(frozen=True)
class SampleReads:
    """Has the samples of one batch read; sample `ids[row]` belongs into row `row`."""

    address: Address
    ids: NDArray[np.int64]
    workshop: Workshop
    client: str
    turn: int
    """See `FairQueue.put`."""

    def submit(self, rows: Sequence[int], taker: Taker) -> None:
        """Returns at once."""
        try:
            self._submit(rows, taker)
        except Exception as error:  # noqa: BLE001 - it becomes the batch's failure
            taker.take({}, dict.fromkeys(rows, error))

    def _submit(self, rows: Sequence[int], taker: Taker) -> None:
        files, source = self.workshop.reader.files, self.address.plan.dataset.source
        if files is not None and isinstance(source, FolderSource):
            small = [row for row in rows if not self._too_large(self.sample(row))]
            files.submit(self.client, self._file_reads(source, small, taker), self.turn)
            rows = sorted({*rows} - {*small})
        self._submit_runs(rows, taker)

    def read(self, row: int, sample: int, taker: Taker) -> bytes | Decoded | TooLarge:
        """Reads a sample here and now, for this row. Raises SampleError."""
        plan = self.address.plan
        if self._too_large(sample):
            return TooLarge(plan.index.size(sample))
        late = partial(self._give_up, row, sample, taker)
        return self.workshop.reader.read(plan.dataset.source, plan.info.split, sample, late)

    @property
    def quick(self) -> bool:
        """See `Reader.quick`."""
        return self.workshop.reader.quick

    def read_files(self, rows: Sequence[int], taker: Taker) -> list[bytes | None]:
        """Reads the files of the first rows here and now, as many as suit the caches, and as take little time.

        None for a file that `read` must say something of. It may be none at all, where there are no files.
        """
        source, split = self.address.plan.dataset.source, self.address.plan.info.split
        if not isinstance(source, FolderSource):
            return []
        files = source.files(split, self._samples(rows))
        files = files[: _fitting([file.size for file in files], self.workshop.bounds.file_bytes)]
        return self.workshop.reader.read_files(files, lambda i: self._give_up(rows[i], self.sample(rows[i]), taker))

    def sample(self, row: int) -> int:
        return int(self.ids[row])

    def _samples(self, rows: Sequence[int]) -> NDArray[np.int64]:
        return self.ids[np.fromiter(rows, np.intp, len(rows))]

    def _submit_runs(self, rows: Sequence[int], taker: Taker) -> None:
        for run in runs(rows, self.workshop.reader.run):
            self.workshop.reader.submit(self.client, partial(self._read_run, run, taker), self.turn)

    def _read_run(self, rows: Sequence[int], taker: Taker) -> None:
        found: dict[int, Material] = {}
        errors: dict[int, Exception] = {}
        turn = Turn()
        for done, row in enumerate(rows):
            if not taker.wanted:
                return
            if done and turn.over:  # the storage is slower than was thought: others read the rest at the same time
                self.submit(rows[done:], taker)
                break
            try:
                found[row] = self.read(row, self.sample(row), taker)
            except Exception as error:  # noqa: BLE001 - it becomes the batch's failure
                errors[row] = error
        taker.take(found, errors)

    def _file_reads(self, source: FolderSource, rows: Sequence[int], taker: Taker) -> list[FileRead]:
        split, done = self.address.plan.info.split, partial(self._take_files, taker)

        def wanted() -> bool:
            return taker.wanted

        files = zip(rows, source.files(split, self._samples(rows)), strict=True)
        return [
            FileRead(file, row, wanted, partial(self._give_up, row, self.sample(row), taker), done)
            for row, file in files
        ]

    def _take_files(self, taker: Taker, files: Mapping[int, bytes | None]) -> None:
        taker.take({row: data for row, data in files.items() if data is not None}, {})
        others = [row for row, data in files.items() if data is None]
        try:  # what is wrong with them is found out, and said, by reading them as any sample is read
            self._submit_runs(others, taker)
        except Exception as error:  # noqa: BLE001 - it becomes the batch's failure
            taker.take({}, dict.fromkeys(others, error))

    def _too_large(self, sample: int) -> bool:
        return self.address.plan.index.size(sample) > self.workshop.bounds.file_bytes

    def _give_up(self, row: int, sample: int, taker: Taker) -> None:
        plan = self.address.plan
        place = {"dataset": plan.dataset.name, "split": plan.info.split, "key": text_of(plan.index.key(sample))[0]}
        reason = "the read has not ended in time (option read_timeout); is the storage there?"
        taker.give_up(row, SampleUnavailable(reason, **place, stage="read"))


def _fitting(sizes: Sequence[int], most: int) -> int:
    """How many of the first files are read together: one may be of any size, up to the most that is read at all."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if size > most or (count and total > _TOGETHER_BYTES):
            return count
    return len(sizes)


def runs(rows: Sequence[int], length: int) -> list[Sequence[int]]:
    """The rows in pieces of this length; the last may be shorter."""
    return [rows[first : first + length] for first in range(0, len(rows), length)]
