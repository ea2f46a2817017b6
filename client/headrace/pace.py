"""Telling a server that holds its peers up, by trying how fast they are without it.

Servers have batches in turns, so all go at the pace of the slowest. While the batches of one are waited for nearly all
the time, and the others' are there already, it may be slow, or just the slowest of several that are all needed; which
of the two it is shows when it is left out for a moment.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from .endpoint import Endpoint
from .servers import Servers

_LEAST_SECONDS = 2.0
_LEAST_TURNS = 2
"""A look at the pace takes at least so long, and so many batches of every server."""
_NEARLY_ALL = 0.8
"""The share of the time for which a suspect is waited for."""
_BETTER = 1.2
"""How many times as fast the others must be without it."""
_TRIAL_SECONDS = 60.0
"""A trial that has not ended by then is given up."""
_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 600.0
"""Seconds for which a verdict stands; each time twice as many."""


class Pace:
    """What a dataset waited for, and who was left out because of it."""

    def __init__(self, servers: Servers, clock: Callable[[], float] = time.monotonic) -> None:
        self._servers, self._clock = servers, clock
        self._peers: tuple[Endpoint, ...] = ()
        self._trial: tuple[Endpoint, float] | None = None
        """Who is left out to see how it goes without, and the batches per second with it."""
        self._settled = False
        """Whether the trial has used up what the others had made ahead."""
        self._pause: dict[Endpoint, float] = {}
        self._cleared_until: dict[Endpoint, float] = {}
        self._last: float | None = None
        """When the last batch came, if in this pass."""
        self._look_anew()

    def begin_pass(self) -> None:
        """What passes until the first batch is waited for does not count."""
        self._last = None

    def waited(self, endpoint: Endpoint, seconds: float, peers: Sequence[Endpoint]) -> None:
        """A batch of `endpoint` came, which has turns with its `peers`, and held them up for so many seconds."""
        if len(peers) < 2 and self._trial is None:
            return
        now, last = self._clock(), self._last
        self._last = now
        if tuple(peers) != self._peers:
            self._peers = tuple(peers)
            self._look_anew()
            return  # a stream's first batch takes longer
        self._seconds += seconds if last is None else now - last
        self._waited[endpoint] += seconds
        self._turns[endpoint] += 1
        if self._seconds >= _LEAST_SECONDS and all(self._turns[peer] >= _LEAST_TURNS for peer in peers):
            self._judge(self._turns.total() / self._seconds)
            self._look_anew()

    def _look_anew(self) -> None:
        self._seconds = 0.0
        self._waited: defaultdict[Endpoint, float] = defaultdict(float)
        self._turns: Counter[Endpoint] = Counter()

    def _judge(self, rate: float) -> None:
        if self._trial is not None:
            if self._settled:
                self._end_trial(*self._trial, rate)
            self._settled = True
            return
        slowest = max(self._peers, key=lambda peer: self._waited[peer])
        cleared = self._cleared_until.get(slowest, 0.0) > self._clock()
        if self._waited[slowest] >= _NEARLY_ALL * self._seconds and not cleared:
            self._trial, self._settled = (slowest, rate), False
            self._servers.set_aside(slowest, _TRIAL_SECONDS, "it may be slow, and is done without to see")

    def _end_trial(self, suspect: Endpoint, with_it: float, without: float) -> None:
        self._trial = None
        if suspect in self._peers:  # it has come back meanwhile, which shows nothing
            return
        pause = self._pause[suspect] = min(_LONGEST_PAUSE, 2 * self._pause.get(suspect, _FIRST_PAUSE / 2))
        if without < _BETTER * with_it:
            self._cleared_until[suspect] = self._clock() + pause
            self._servers.take_back(suspect)
            return
        reason = f"slow: {with_it:.3g} batches/s with it, {without:.3g} without; tried again after {pause:.0f} s"
        self._servers.set_aside(suspect, pause, reason, tell=True)
