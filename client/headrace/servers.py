"""The servers of the same data: which of them are up, and when the others are tried again."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .addresses import endpoints_of, looked_up_again
from .endpoint import ConnectOptions, Endpoint
from .errors import HeadraceError, RequestRefused, ServiceError
from .waiting import wait_until_ready

logger = logging.getLogger("headrace")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_MOMENT = 0.2
"""Seconds between two looks at whether a wait was given up."""


@dataclass
class _Health:
    """What is known of a server."""

    failures: int = 0
    """In a row, without a batch between them."""
    trouble: str = ""
    """Why it is left out; empty where it is not."""
    next_try: float = 0.0
    """By `time.monotonic`."""
    slow: bool = False
    """It is left out for no other reason than that its peers are faster without it."""
    refused: bool = False
    """Its data or its decoders are others, so it is not tried again."""


class Servers:
    """Servers that are used, and left out while they are in trouble. Safe to use from many threads.

    While one is left out, a thread asks it now and then, less and less often and not exactly in step with other
    clients, whether it is ready again. `close` ends it.
    """

    def __init__(self, urls: Sequence[str], options: ConnectOptions) -> None:
        self.urls, self.options = list(urls), options
        self._endpoints = endpoints_of(self.urls, options)
        self._health = {endpoint: _Health() for endpoint in self._endpoints}
        # Held as itself: Ctrl-C in the middle of a condition's own, which is Python, would leave it locked for ever.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._reviving = self.closed = False
        self.reconnects = 0
        """How often a server was left out after it had been used."""

    def __len__(self) -> int:
        return len(self._endpoints)

    def __str__(self) -> str:
        return ", ".join(endpoint.name for endpoint in self._endpoints)

    def connect(self) -> None:
        """Waits for the first that is ready, see `wait_until_ready`; the others are tried again in the background."""
        for endpoint, error in wait_until_ready(self._endpoints, self.options.wait).items():
            self._leave_out(endpoint, error)

    def each(self) -> list[Endpoint]:
        """Those that are not left out, in the order of their URLs; there may be none."""
        with self._lock:
            return [endpoint for endpoint in self._endpoints if not self._health[endpoint].trouble]

    def wait(self, deadline: float, given_up: Callable[[], bool]) -> list[Endpoint]:
        """Those that are up, once there is one; none after the deadline, or when the wait was given up."""
        told = False
        while not (up := self.each()) and not given_up() and not self.closed:
            left = deadline - time.monotonic()
            if left <= 0 or self._all_refused():
                return []
            if not told:
                logger.warning("waiting up to %.0f s for a server: %s", left, self.troubles())
                told = True
            with self._lock:
                self._changed.wait(min(_MOMENT, left))
        return up

    def worked(self, endpoint: Endpoint) -> None:
        """A batch came from it, so its next failure counts as the first."""
        self._health_of(endpoint).failures = 0

    def failed(self, endpoint: Endpoint, error: HeadraceError) -> None:
        """It is left out until it says that it is ready again."""
        self.reconnects += 1
        if self.options.retry_timeout:  # otherwise the error is raised, unless another server goes on
            logger.warning("%s is left out and tried again later: %s", endpoint.name, error)
        self._leave_out(endpoint, error)

    def refuse(self, endpoint: Endpoint, error: HeadraceError) -> None:
        """It is not used any more."""
        logger.error("%s is not used any more: %s", endpoint.name, error)
        with self._lock:
            health = self._health_of(endpoint)
            health.trouble, health.refused = str(error), True
            self._after_leaving_out()

    def set_aside(self, endpoint: Endpoint, seconds: float, reason: str, *, tell: bool = False) -> None:
        """It is left out for so long, as long as there are others."""
        if tell:
            logger.warning("%s is left out: %s", endpoint.name, reason)
        with self._lock:
            health = self._health_of(endpoint)
            if not health.trouble or health.slow:
                health.trouble, health.slow, health.next_try = reason, True, time.monotonic() + seconds
                self._after_leaving_out()

    def take_back(self, endpoint: Endpoint) -> None:
        """It is used again after all."""
        with self._lock:
            self._take_back_slow([self._health_of(endpoint)])

    def troubles(self) -> str:
        """Which servers are left out, and why, on one line; empty where none is."""
        with self._lock:
            return "; ".join(
                f"{endpoint.name}: {health.trouble}" for endpoint, health in self._health.items() if health.trouble
            )

    def close(self) -> None:
        """Closes all connections. What is open over them breaks."""
        with self._lock:
            self.closed = True
            self._changed.notify_all()
        for endpoint in self._endpoints:
            endpoint.close()

    def _health_of(self, endpoint: Endpoint) -> _Health:
        """What is noted of a server; of one whose address is gone, in vain."""
        return self._health.get(endpoint) or _Health()

    def _all_refused(self) -> bool:
        return all(health.refused for health in self._health.values())

    def _leave_out(self, endpoint: Endpoint, error: HeadraceError) -> None:
        with self._lock:
            health = self._health_of(endpoint)
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(health.failures, 10)) * random.uniform(0.5, 1.5)
            if isinstance(error, RequestRefused):
                pause = max(pause, error.retry_after)
            health.failures += 1
            health.trouble, health.slow, health.next_try = str(error), False, time.monotonic() + pause
            self._after_leaving_out()

    def _after_leaving_out(self) -> None:
        if all(health.trouble for health in self._health.values()):  # a slow one is better than none
            self._take_back_slow(self._health.values())
        self._changed.notify_all()  # the thread below may wait for one that is asked later
        if not self._reviving and not self.closed:
            self._reviving = True
            threading.Thread(target=self._revive, name="headrace-revive", daemon=True).start()

    def _take_back_slow(self, healths: Iterable[_Health]) -> None:
        for health in healths:
            if health.slow:
                health.trouble, health.slow = "", False
        self._changed.notify_all()

    def _revive(self) -> None:
        """Asks those that are left out, each when it is time to, until there are none."""
        while (endpoint := self._due()) is not None:
            try:
                endpoint.check_ready()
            except ServiceError as error:
                self._leave_out(endpoint, error)
                self._look_up_again()
                continue
            except RuntimeError:  # httpx's, for a client that was closed meanwhile, as all are at the process's end
                if not endpoint.close.alive:
                    return
                raise
            with self._lock:
                health = self._health_of(endpoint)
                health.trouble, health.slow = "", False
                self._changed.notify_all()
            logger.info("%s is ready again", endpoint.name)

    def _look_up_again(self) -> None:
        """A server that does not come back may have got another address."""
        endpoints = looked_up_again(self._endpoints, self.each())
        with self._lock:
            for endpoint in set(endpoints) - set(self._endpoints):
                self._health[endpoint] = _Health(trouble="a new address, not asked yet")
            gone = set(self._endpoints) - set(endpoints)
            for endpoint in gone:
                del self._health[endpoint]
            self._endpoints = endpoints
        for endpoint in gone:
            endpoint.close()

    def _due(self) -> Endpoint | None:
        """The next server that is to be asked, when it is time to; None when there is no more to do."""
        with self._lock:
            while True:
                out = [each for each, health in self._health.items() if health.trouble and not health.refused]
                if self.closed or not out:
                    self._reviving = False
                    return None
                endpoint = min(out, key=lambda each: self._health[each].next_try)
                left = self._health[endpoint].next_try - time.monotonic()
                if left <= 0:
                    return endpoint
                self._changed.wait(left)
