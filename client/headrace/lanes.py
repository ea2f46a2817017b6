"""Streams of several servers, which have a rank's batches in turns."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

from .batch import Batch
from .endpoint import Endpoint
from .errors import (
    ConnectionFailed,
    DataChanged,
    NotHeadrace,
    RequestRefused,
    SampleFailed,
    ServiceError,
    StreamBroken,
    Unauthorized,
)
from .fetch import Fetcher, Frames
from .positions import Slice

RECOVERABLE = (
    ConnectionFailed,
    StreamBroken,
    RequestRefused,
    NotHeadrace,
    Unauthorized,
    SampleFailed,
    DataChanged,
)
"""What another server, or another moment, may do better."""


class LaneFailed(Exception):
    """What went wrong, and with which server."""

    def __init__(self, endpoint: Endpoint, error: ServiceError) -> None:
        super().__init__(str(error))
        self.endpoint, self.error = endpoint, error


class Lanes:
    """One open stream for each of some servers; the batches go round them, beginning with the first.

    Close it. All errors of servers come as LaneFailed.
    """

    def __init__(
        self, fetcher: Fetcher, endpoints: Sequence[Endpoint], place: Callable[[int], Slice], count: int, stride: int
    ) -> None:
        """`place(i)` is where batch i of `count` stands, and `stride` the number of positions from one to the next."""
        self._fetcher, self._place, self._count = fetcher, place, count
        self._next = 0
        self._lanes: list[tuple[Endpoint, Frames]] = []
        self.endpoints: list[Endpoint] = []
        """The servers, in the order of their turns."""
        self._open = contextlib.ExitStack()
        self._width = min(len(endpoints), count)
        try:
            for lane, endpoint in enumerate(endpoints[: self._width]):
                with failures_of(endpoint):
                    stream = fetcher.stream(endpoint, place(lane), self._end(lane), stride * self._width)
                    self._lanes.append((endpoint, self._open.enter_context(stream)))
                    self.endpoints.append(endpoint)
        except BaseException:
            self._open.close()
            raise

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def left(self) -> int:
        """Batches that are still to come."""
        return self._count - self._next

    def _end(self, lane: int) -> int:
        """The position at which a lane's last batch ends."""
        last = self._count - 1
        return self._place(last - (last - lane) % self._width).stop

    def next_batch(self) -> tuple[Endpoint, Batch]:
        """The next batch, and the server that it came from."""
        endpoint, frames = self._lanes[self._next % self._width]
        began, held_up = time.monotonic(), self._width > 1 and self._others_are_ready(frames)
        try:
            batch = self._fetcher.batch(frames, self._place(self._next), alone=self._width == 1)
        except RECOVERABLE as error:
            raise LaneFailed(endpoint, error) from error
        self._next += 1
        self._fetcher.pace.waited(endpoint, (time.monotonic() - began) * held_up, self.endpoints)
        return endpoint, batch

    def _others_are_ready(self, mine: Frames) -> bool:
        """Whether all others have sent something already that nobody has read, so that they are held up."""
        return all(frames.ready() for _, frames in self._lanes if frames is not mine)

    def finish(self) -> None:
        """Reads the streams' ends, so that their connections can be kept; an end that does not come harms nobody."""
        with contextlib.suppress(*RECOVERABLE):
            for lane, (_, frames) in enumerate(self._lanes):
                frames.end(self._end(lane))
        self.close()

    def close(self) -> None:
        self._open.close()


@contextlib.contextmanager
def failures_of(endpoint: Endpoint) -> Iterator[None]:
    """A server's errors as LaneFailed."""
    try:
        yield
    except RECOVERABLE as error:
        raise LaneFailed(endpoint, error) from error
