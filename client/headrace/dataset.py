"""A dataset as the trainer sees it: passes over its batches, and the place in them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from headrace_proto import checks
from headrace_proto.buffers import BufferPool
from headrace_proto.plan import Output, Plan, PlanInfo

from . import state as states
from .batch import Batch
from .budget import Budget, Elsewhere, nowhere
from .endpoint import ConnectOptions
from .epochs import epochs
from .errors import UsageError
from .fetch import Fetcher, Order
from .pace import Pace
from .positions import Position, Sharding
from .prefetch import Prefetcher
from .servers import Servers
from .state import State
from .statistics import Meter, Stats

if TYPE_CHECKING:
    import tensorflow as tf

    from .adapters.keras import Checkpoint
    from .adapters.torch import TorchBatches


class Follower(Protocol):
    """An adapter whose workers iterate in other processes."""

    @property
    def used(self) -> bool:
        """Whether batches were handed out elsewhere since the start was set."""
        ...

    def begin_at(self, start: State) -> None:
        """The next pass begins at `start`."""
        ...


@dataclass(frozen=True)
class Options:
    """How a dataset is iterated."""

    epochs: int | None = None
    """Epochs in one pass; None is one, and the next pass yields the next."""
    replace_budget: float | None = None
    """The share of an epoch that may be replaced; None takes the server's."""
    prefetch: int = 4
    """Batches received ahead of the trainer."""
    checksum: bool = False
    """Whether every frame is checked against a CRC-32."""

    def __post_init__(self) -> None:
        try:
            if self.epochs is not None:
                checks.integer("epochs", self.epochs, 1)
            if self.replace_budget is not None:
                checks.number("replace_budget", self.replace_budget, 0.0, 1.0)
            checks.integer("prefetch", self.prefetch, 1)
            checks.boolean("checksum", self.checksum)
        except ValueError as error:
            raise UsageError(str(error)) from error


@dataclass(frozen=True)
class Recipe:
    """All that another process needs to iterate the same dataset. Can be pickled."""

    urls: Sequence[str]
    connect: ConnectOptions
    plan: Plan
    info: PlanInfo
    sharding: Sharding
    options: Options
    length: int

    @property
    def layout(self) -> str:
        """Of the images on the wire."""
        return self.plan.layout

    @contextlib.contextmanager
    def open(self) -> Iterator[Dataset]:
        """The dataset, over connections of its own."""
        servers = Servers(self.urls, self.connect)
        try:
            yield Dataset(servers, self.plan, self.info, self.sharding, self.options)
        finally:
            servers.close()


class Dataset:
    """The batches of one plan for one rank. `Client.dataset` makes it.

    Iterating yields a `Batch` at a time: a dict of NumPy arrays, whose first axis has up to `batch_size` samples. A
    pass that is left early begins again where it began; one that ends advances to the next epoch.
    """

    def __init__(self, servers: Servers, plan: Plan, info: PlanInfo, sharding: Sharding, options: Options) -> None:
        self._servers, self._plan, self.info = servers, plan, info
        self.sharding, self.options = sharding, options
        self._start = State(Position(0, 0))
        self._received = self._start
        self._meter = Meter()
        self._followers: list[Follower] = []
        self._buffers = BufferPool()
        self._pace = Pace(servers)

    def __len__(self) -> int:
        """The batches of one full pass."""
        return self.sharding.steps() * (self.options.epochs or 1)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def __repr__(self) -> str:
        sharding = self.sharding
        return (
            f"<headrace.Dataset {self.info.dataset}/{self.info.split}: {self.samples:,} samples, batches of "
            f"{sharding.batch_size}, rank {sharding.rank} of {sharding.world_size}, tail {sharding.tail}>"
        )

    @property
    def samples(self) -> int:
        """Samples in an epoch, on all ranks together."""
        return self.info.samples

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the labels; None where there are none."""
        return self.info.classes

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Each column's name, dtype, and shape of one sample."""
        return self.info.outputs

    @property
    def epoch(self) -> int:
        """The epoch that the next pass begins in."""
        return self._start.position.epoch

    def set_epoch(self, epoch: int) -> None:
        """The next pass begins at the beginning of `epoch`."""
        try:
            self._begin_at(State(Position(checks.integer("epoch", epoch, 0), 0)))
        except ValueError as error:
            raise UsageError(str(error)) from error

    def state_dict(self, batch: Batch | None = None) -> dict[str, Any]:
        """Where training stands, as plain JSON data: after the last batch received, or after `batch`.

        Name the batch where batches crossed a process, as those of a DataLoader with workers do.
        """
        if batch is None:
            if any(follower.used for follower in self._followers):
                raise UsageError("these batches came from worker processes: name the last one, as state_dict(batch)")
            return states.save(self._received, self.info)
        if not isinstance(batch, Batch):
            raise UsageError(f"state_dict takes a batch of this dataset, found {type(batch).__name__}")
        return states.save(batch.state, self.info)

    def load_state_dict(self, state: Mapping[str, Any], *, allow_changed: bool = False) -> None:
        """The next pass goes on from a saved state, whatever its batch size and world size were.

        Raises StateMismatch naming what differs where it is of another plan; `allow_changed` accepts changed data.
        """
        self._begin_at(states.restore(state, self.info, allow_changed=allow_changed))

    def stats(self) -> Stats:
        """Images/s, bytes/s and the share of time that the trainer waited; and what servers are in trouble."""
        return self._meter.stats(self._servers.reconnects, self._servers.troubles())

    def to_tf(self, *, repeat: bool = False) -> tf.data.Dataset:
        """A `tf.data.Dataset` of (image, label), or (image, label, valid) under "pad"; no label where there is none.

        One pass over it is a pass over this dataset, so `model.fit(train.to_tf(), epochs=3)` sees three epochs. With
        `repeat` it never ends; resume with it and `steps_per_epoch`.
        """
        from .adapters.tensorflow import to_tf

        return to_tf(self, repeat=repeat)

    def checkpoint(self, folder: str | os.PathLike[str], *, save_every: int | None = None) -> Checkpoint:
        """A Keras callback that saves the model's weights and this dataset's state together, and brings both back.

        It saves at the end of each epoch, and after every `save_every` batches. Make it before `to_tf()`, since it
        loads the state that is in `folder`, and train an epoch at a time, since Keras takes all epochs of a `fit` to be
        as long as the first, which may be the rest of one:

            while train.epoch < 10:
                model.fit(train.to_tf(), initial_epoch=train.epoch, epochs=train.epoch + 1, callbacks=[checkpoint])
        """
        from .adapters.keras import Checkpoint

        return Checkpoint(self, folder, save_every)

    def to_torch(self) -> TorchBatches:
        """A torch `IterableDataset` of finished batches, channels first, for `DataLoader(..., batch_size=None)`."""
        from .adapters.torch import to_torch

        return to_torch(self)

    def batches(self, *, forever: bool = False) -> Generator[Batch, None, None]:
        """One pass; with `forever` one that goes on with epoch after epoch."""
        asked, start = time.time(), self._start
        with contextlib.closing(self.unreceived(start, forever=forever)) as batches:
            for batch in batches:
                self.receive(batch.state, len(batch.replaced), asked, len(batch["image"]), batch.nbytes)
                yield batch
                asked = time.time()
        self.finish_pass(start)

    def unreceived(
        self,
        start: State,
        *,
        forever: bool = False,
        first: int = 0,
        every: int = 1,
        elsewhere: Elsewhere = nowhere,
    ) -> Generator[Batch, None, None]:
        """The batches of a pass from `start` on, without counting them as received; for adapters.

        Where workers share them, every `every`-th from `first` on; `elsewhere` knows what the others saw replaced.
        """
        with self.prefetched(start, forever=forever, first=first, every=every) as batches:
            yield from self.budget().watch(batches, start, elsewhere)

    def prefetched(self, start: State, *, forever: bool = False, first: int = 0, every: int = 1) -> Prefetcher[Batch]:
        """The batches of `unreceived` as they come, before the budget is looked at."""
        order = Order(self._plan, self.info, self.sharding, self.options.checksum, self._buffers)
        self._pace.begin_pass()
        fetcher = Fetcher(self._servers, order, self._pace)
        last = None if forever else self.last_epoch(start.position.epoch)
        items = epochs(fetcher, start.position, last, first, every)
        return Prefetcher(items, self.options.prefetch, fetcher.stop)

    def receive(self, state: State, replaced: int, asked: float, images: int, nbytes: int) -> None:
        """Notes that the trainer, which asked at the time `asked`, has a batch after which it stands at `state`."""
        self._received = state
        if state.position.epoch > self.last_epoch(self._start.position.epoch):
            self._start = state
        self._meter.received(asked, images, nbytes, replaced)

    def finish_pass(self, start: State) -> None:
        """Notes that a pass is over; a rank that had no batch in it comes no other way to the next epoch."""
        after = Position(self.last_epoch(start.position.epoch) + 1, 0)
        if self._start is start:
            self._begin_at(State(after))

    @property
    def start(self) -> State:
        """Where the next pass begins."""
        return self._start

    def follow(self, follower: Follower) -> None:
        """Tells `follower` from now on where passes begin."""
        self._followers.append(follower)

    def recipe(self) -> Recipe:
        servers = self._servers
        return Recipe(servers.urls, servers.options, self._plan, self.info, self.sharding, self.options, len(self))

    def _begin_at(self, state: State) -> None:
        self._start = self._received = state
        for follower in self._followers:
            follower.begin_at(state)

    def last_epoch(self, first: int) -> int:
        """The last epoch of a pass that begins in epoch `first`: a pass of k epochs ends at the next multiple of k."""
        epochs = self.options.epochs or 1
        return (first // epochs + 1) * epochs - 1

    def budget(self) -> Budget:
        """How many samples of an epoch may be replaced."""
        share = self.info.replace_budget if self.options.replace_budget is None else self.options.replace_budget
        return Budget(share, self.info.samples)
