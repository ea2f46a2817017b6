"""Going on after a server failed: which servers to ask next, and when to give up."""

from __future__ import annotations

import time
from collections.abc import Callable

from .endpoint import Endpoint
from .errors import DataChanged, RequestRefused, SampleFailed, ServiceError, StreamBroken, Unauthorized
from .lanes import LaneFailed
from .positions import Position
from .servers import Servers

_MOST_REFUSALS = 3
"""What a server refuses for good is asked for so often: a bit may have been flipped on the way."""


def _of_a_sample(error: ServiceError) -> bool | None:
    """Whether another server may have the sample that failed; None where it is no sample that did."""
    if isinstance(error, SampleFailed):
        return error.retry
    if isinstance(error, RequestRefused) and (error.code or "").startswith("sample"):  # the answer to a slice
        return error.passing
    return None


def _is_refusal(error: ServiceError) -> bool:
    if isinstance(error, RequestRefused):
        return not error.passing and error.status != 404  # which a server or a route says that is new, too
    return isinstance(error, Unauthorized)


class Failover:
    """The trouble since the last batch, if there was any."""

    def __init__(self, servers: Servers, given_up: Callable[[], bool]) -> None:
        self._servers, self._given_up = servers, given_up
        self._since: float | None = None
        self._tried: list[str] = []
        self._refusals = 0
        self._failed_sample: set[Endpoint] = set()
        """Who could not make a sample of the batch that is wanted now."""

    def endpoints(self, at: Position) -> list[Endpoint]:
        """The servers to ask, whoever failed at this batch last. Waits for one; raises StreamBroken after too long."""
        allowed = self._servers.options.retry_timeout
        began = time.monotonic() if self._since is None else self._since
        if self._servers.closed:
            raise StreamBroken("the client was closed", *at)
        up = self._servers.wait(began + allowed, self._given_up)
        if not up:
            raise StreamBroken(self._story(time.monotonic() - began), *at)
        return sorted(up, key=lambda endpoint: endpoint in self._failed_sample)

    def worked(self, endpoint: Endpoint) -> None:
        """A batch came."""
        self._servers.worked(endpoint)
        self._since = None
        self._tried.clear()
        self._refusals = 0
        self._failed_sample.clear()

    def failed(self, failure: LaneFailed) -> None:
        """Leaves the server out for a while, or for good. Raises its error where it is of no use to try again."""
        endpoint, error = failure.endpoint, failure.error
        if self._given_up():
            raise error
        if (retry := _of_a_sample(error)) is not None:
            self._failed_sample.add(endpoint)
            if not retry or self._failed_sample.issuperset(self._servers.each()):
                raise error
            return
        if isinstance(error, DataChanged):
            self._servers.refuse(endpoint, error)
            if not self._servers.each():
                raise error
            return
        if _is_refusal(error):
            self._refusals += 1
            if self._refusals >= _MOST_REFUSALS:
                raise error
            return
        if self._since is None:
            self._since = time.monotonic()
        self._tried.append(str(error))
        self._servers.failed(endpoint, error)
        over = time.monotonic() - self._since >= self._servers.options.retry_timeout
        if over and (not self._servers.each() or len(self._tried) > len(self._servers)):
            raise error

    def _story(self, seconds: float) -> str:
        """What was tried."""
        last = self._tried[-1] if self._tried else self._servers.troubles()
        return (
            f"no batch for {seconds:.0f} s (retry_timeout is {self._servers.options.retry_timeout:g}), after "
            f"{len(self._tried)} failures; the last: {last}; now: {self._servers.troubles() or 'all are up'}"
        )
