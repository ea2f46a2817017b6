"""A batch in the making: its samples are read and decoded in runs, by many threads, into one buffer."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from headrace_proto import messages

from .address import Address
from .errors import SampleError
from .frames import Frame
from .index import text_of
from .lending import Place
from .logs import logger
from .packing import Room
from .run_maker import RunMaker
from .sample_reads import SampleReads, runs
from .samples import Made, Material, SampleMaker
from .sources.arrays import Gather
from .workshop import Workshop
from .worktime import work_seconds

Listener = Callable[[], None]

_turns = itertools.count()


class Assembly:
    """One batch in the making, for one stream or for several that want the same one.

    Afterwards either `frame` is there, or `failure` is: the error of the first sample, by position, that failed.
    """

    def __init__(self, address: Address, workshop: Workshop, client: str) -> None:
        self.address = address
        self.frame: Frame | None = None
        self.failure: messages.Failure | None = None
        self._workshop, self._client = workshop, client
        self._maker = SampleMaker(address.plan, address.epoch, workshop.bounds, workshop.cache)
        # A stream begins many batches at once, and which of them is prepared first is chance: without turns, the tasks
        # of the one that it needs next could come behind those of all the others.
        self._turn = next(_turns)
        self._lock = threading.Lock()
        self._count = self._left = address.stop - address.start
        self._cancelled = False
        self._listeners: list[Listener] = []
        self._made = [False] * self._count
        self._borrowers: dict[int, list[Callable[[], None]]] = {}
        self._errors: dict[int, Exception] = {}
        self._replaced: dict[int, Made] = {}

    @property
    def done(self) -> bool:
        return self.frame is not None or self.failure is not None

    def begin(self) -> None:
        """Returns at once; everything happens in the workshop's threads."""
        if self.address.plan.gather is not None:
            self._workshop.decoders.submit(self._client, partial(self._gather, self.address.plan.gather), self._turn)
        else:
            self._workshop.reader.submit(self._client, self._prepare, self._turn)

    def listen(self, listener: Listener) -> None:
        """Calls `listener`, from a worker thread, when the batch is done; it may be done already."""
        with self._lock:
            self._listeners.append(listener)

    def ignore(self, listener: Listener) -> None:
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for what is not made yet."""
        return not self._cancelled and not self.done

    def cancel(self) -> bool:
        """Drops all work that has not begun, unless another batch waits for one of the samples."""
        with self._lock:
            self._cancelled = not self._borrowers
            return self._cancelled

    def lend(self, row: int, copy: Callable[[], None]) -> bool:
        """Calls `copy` as soon as a row is made, at once or from a worker thread. False if it never will be."""
        with self._lock:
            if self._cancelled:
                return False
            if not self._made[row]:
                self._borrowers.setdefault(row, []).append(copy)
                return True
        copy()
        return True

    def _gather(self, gather: Gather) -> None:
        """Makes the whole batch in one go."""
        if self._cancelled:
            return
        try:
            self._make_room(gather)
        except Exception as error:  # noqa: BLE001 - it becomes the batch's failure
            self._errors[0] = error
        self._workshop.counts.add_made(self._count)
        self._finish(range(self._count))

    def _prepare(self) -> None:
        """Finds the samples, makes room for them, and has those read that nobody else has."""
        if self._cancelled:
            return
        try:
            self._make_room()
            self._reads = SampleReads(self.address, self._ids, self._workshop, self._client, self._turn)
            self._images = self._room.columns[self.address.plan.pipeline.output.name]
            self._run_maker = RunMaker(self._maker, self._reads, self._images, self._count)
            places = self._workshop.lending.places(self.address)
            missing = [row for row, place in enumerate(places) if place is None or not self._borrow(row, place)]
            self._submit_missing(missing)
        except Exception as error:  # noqa: BLE001 - it becomes the batch's failure
            self._errors[0] = error
            self._finish(range(self._count))

    def _submit_missing(self, rows: Sequence[int]) -> None:
        keeps = self._workshop.cache.most_bytes > 0
        to_read = [row for row in rows if not self._take_cached(row)] if keeps else rows
        if self._workshop.reader.quick:
            self._submit_decoding(rows)
        else:
            self._submit_decoding(sorted({*rows} - {*to_read}))
            self._reads.submit(to_read, self)

    def _make_room(self, gather: Gather | None = None) -> None:
        """Finds which samples the batch has, and makes room for them; `gather` gives their images themselves."""
        address, buffers = self.address, self._workshop.buffers
        self._ids = address.plan.order(address.epoch).samples(address.start, address.stop)
        self._room = Room(address.plan, self._ids, buffers, gather(self._ids, buffers) if gather else ())

    def _borrow(self, row: int, place: Place) -> bool:
        return place.lender.lend(place.row, partial(self._copy, row, place))

    def _copy(self, row: int, place: Place) -> None:
        """Takes over what another batch made of the same sample."""
        if self._cancelled:
            return
        lender, made = place.lender, place.lender._replaced.get(place.row)
        error = lender._errors.get(place.row)
        if error is not None:
            self._errors[row] = error
        else:
            self._images[row] = lender._images[place.row]
        if made is not None:
            self._replaced[row] = made
        self._workshop.counts.add_shared(1)
        self._finish([row])

    def _take_cached(self, row: int) -> bool:
        image = self._run_maker.sources[row] = self._maker.cached(int(self._ids[row]))
        return image is not None

    def take(self, found: Mapping[int, Material], errors: Mapping[int, Exception]) -> None:
        """See `Taker`."""
        for row, material in found.items():
            self._run_maker.sources[row] = material
        self._errors.update(errors)
        self._finish([*errors])
        self._submit_decoding([*found])

    def _submit_decoding(self, rows: Sequence[int]) -> None:
        try:
            for run in runs(rows, self._workshop.runs.length):
                self._workshop.decoders.submit(self._client, partial(self._decode, run), self._turn)
        except Exception as error:  # noqa: BLE001 - it becomes the batch's failure
            self._errors.update(dict.fromkeys(rows, error))
            self._finish(rows)

    def give_up(self, row: int, error: Exception) -> None:
        """A read hangs: the batch fails, with all that its task would have made next, whatever becomes of it."""
        with self._lock:
            unmade = [each for each, made in enumerate(self._made) if not made]
        self._errors.update(dict.fromkeys([row, *unmade], error))  # others may wait to copy them
        self._finish(unmade)

    def _decode(self, rows: Sequence[int]) -> None:
        """Makes samples that were read; where the storage is quick it reads them, too, which saves a hand-over."""
        began = work_seconds()
        try:
            run = self._run_maker.make(rows, self)
            if run is None:
                return
            for row, made in run.replaced.items():
                self._note(row, made)
        except Exception as error:  # noqa: BLE001 - it becomes the batch's failure
            self._errors.update(dict.fromkeys(rows, error))
            self._finish(rows)
            return
        if run.unread:
            self._reads.submit(run.unread, self)
            rows = rows[: -len(run.unread)]
        self._errors.update(run.errors)
        self._replaced.update(run.replaced)
        if rows:
            self._workshop.runs.took(len(rows), work_seconds() - began)
        self._workshop.counts.add_made(len(rows))
        self._finish(rows)

    def _note(self, row: int, made: Made) -> None:
        info, index = self.address.plan.info, self.address.plan.index
        assert made.reason is not None
        self._workshop.troubles.note(info.dataset, info.split, text_of(index.key(int(self._ids[row])))[0], made.reason)

    def _finish(self, rows: Sequence[int]) -> None:
        """Notes that rows are made, or failed; lends them, and packs the batch when they were the last."""
        waiting: list[Callable[[], None]] = []
        with self._lock:
            fresh = [row for row in rows if not self._made[row]]
            for row in fresh:
                self._made[row] = True
                waiting += self._borrowers.pop(row, ())
            self._left -= len(fresh)
            last = bool(fresh) and self._left == 0 and not self._cancelled
        for copy in waiting:
            copy()
        if last:
            self._complete()

    def _complete(self) -> None:
        frame = None
        try:
            if not self._errors:
                address = self.address
                frame = self._room.pack(address.epoch, address.start, self._replaced, checksum=address.checksum)
        except Exception as error:  # noqa: BLE001 - it becomes the batch's failure
            self._errors[0] = error
        with self._lock:
            self.frame = frame
            if frame is None:
                self.failure = self._describe(*min(self._errors.items()))
            listeners = list(self._listeners)
        self._workshop.lending.finished(self)
        for listener in listeners:
            listener()

    def _describe(self, i: int, error: Exception) -> messages.Failure:
        epoch, position = self.address.epoch, self.address.start + i
        if isinstance(error, SampleError):
            return messages.Failure(error.code, str(error), epoch, position, error.key, error.retry)
        logger.error("a batch failed", plan=self.address.plan.info.id, epoch=epoch, position=position, exc_info=error)
        return messages.Failure("server", f"the server failed: {error!r}", epoch, position, retry=True)


def assemble(address: Address, workshop: Workshop, client: str, listener: Listener) -> Assembly:
    """The batch of an address, begun for `client` unless somebody else has begun it; `release` it in the end."""
    assembly, new = workshop.lending.get(address, lambda: Assembly(address, workshop, client))
    assembly.listen(listener)
    if new:
        assembly.begin()
    return assembly
