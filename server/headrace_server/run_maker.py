"""The samples of a run made in their slots, read first where they are not yet there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import Any

from numpy.typing import NDArray

from .decode import DecodeError
from .jpeg_runs import NATIVE, JpegRuns
from .sample_reads import SampleReads, Taker
from .samples import Made, Material, SampleMaker
from .transforms.base import Image


@dataclass
class Run:
    """What became of a run's rows: all others are made of the samples that were asked for."""

    replaced: dict[int, Made] = field(default_factory=dict)
    errors: dict[int, Exception] = field(default_factory=dict)
    unread: Sequence[int] = ()
    """The last of them, which were left since the storage has become slow."""


class RunMaker:
    """Makes the samples of one batch; safe to use from several threads, each with rows of its own."""

    def __init__(self, maker: SampleMaker, reads: SampleReads, images: NDArray[Any], count: int) -> None:
        """Sample `reads.ids[row]` goes into `images[row]`."""
        self._maker, self._reads, self._images = maker, reads, images
        self._jpegs = JpegRuns(NATIVE, maker, reads.ids, images) if NATIVE and maker.can_cut else None
        self.sources: list[Material | None] = [None] * count
        """What the samples are made of, by row, once it is there."""

    def make(self, rows: Sequence[int], taker: Taker) -> Run | None:
        """None as soon as nobody wants them any more."""
        run = Run()
        while rows:
            if not taker.wanted:
                return None
            if self.sources[rows[0]] is None and not self._reads.quick:
                run.unread = rows
                return run
            try:
                found = self._read_some(rows, taker)
                count = len(found)
                for cuts in self._cut(found):
                    if not self._make_each(cuts, found, run, taker):
                        return None
                found.clear()  # neither the next read nor the traceback of an error is to hold them
            except Exception as error:  # noqa: BLE001 - it becomes the batch's failure
                run.errors.update(dict.fromkeys(rows, error))
                return run
            rows = rows[count:]
        return run

    def _read_some(self, rows: Sequence[int], taker: Taker) -> dict[int, Material | None]:
        """What the first of the rows are made of, where that is there, or else some files, read now."""
        there = self.sources[rows[0]] is not None
        some = [*takewhile(lambda row: (self.sources[row] is not None) == there, rows)]
        if not there:
            return dict(zip(some, self._reads.read_files(some, taker), strict=False)) or {some[0]: None}
        found = {row: self.sources[row] for row in some}
        for row in some:
            self.sources[row] = None
        return found

    def _cut(self, found: Mapping[int, Material | None]) -> Iterator[dict[int, Image | None]]:
        """The rows still to be made, some at a time, and their images as the first steps leave them, where they do."""
        if self._jpegs is None:
            yield dict.fromkeys(found)
            return
        files = {row: data for row, data in found.items() if isinstance(data, bytes)}
        yield dict.fromkeys(row for row in found if row not in files)
        yield from self._jpegs.cut(files)

    def _make_each(
        self, cuts: dict[int, Image | None], found: dict[int, Material | None], run: Run, taker: Taker
    ) -> bool:
        """Whether they were wanted to the end. Takes them out of both, so that nothing stays for longer than needed."""
        for row in [*cuts]:
            if not taker.wanted:
                return False
            try:
                made = self._make(row, cuts.pop(row), found.pop(row), taker)
                if made.reason is not None:
                    run.replaced[row] = made
            except Exception as error:  # noqa: BLE001 - it becomes the batch's failure
                run.errors[row] = error
        return True

    def _make(self, row: int, cut: Image | None, source: Material | None, taker: Taker) -> Made:
        sample, out = self._reads.sample(row), self._images[row]
        if cut is not None and self._finish(sample, cut, out):
            return Made(sample)
        if source is None:
            source = self._reads.read(row, sample, taker)
        return self._maker.make(sample, source, out, partial(self._reads.read, row, taker=taker))

    def _finish(self, sample: int, cut: Image, out: NDArray[Any]) -> bool:
        try:
            self._maker.finish_cut(sample, cut, out)
        except DecodeError:  # it may be replaced, which is decided elsewhere
            return False
        return True
