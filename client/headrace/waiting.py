"""Waiting for a server that is not up yet."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from .endpoint import Endpoint
from .errors import ConnectionFailed, RequestRefused

logger = logging.getLogger("headrace")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


def first_ready(endpoints: Sequence[Endpoint], wait: float) -> Endpoint:
    """The first of several servers that is ready, after up to `wait` seconds if they refuse connections or say 503.

    Raises ConnectionFailed after that; NotHeadrace, VersionMismatch and Unauthorized at once.
    """
    began, pause, told = time.monotonic(), _FIRST_PAUSE, False
    while True:
        failures = []
        for endpoint in endpoints:
            try:
                endpoint.check_identity()
            except (ConnectionFailed, RequestRefused) as error:
                endpoint.raise_if_final(error)
                failures.append(error)
            else:
                return endpoint
        waited = time.monotonic() - began
        left = wait - waited
        reasons = "; ".join(map(str, failures))
        if left <= 0:
            raise ConnectionFailed(f"{reasons} (waited {waited:.0f} s)" if waited > 1 else reasons) from failures[0]
        if waited > 1 and not told:
            logger.warning("waiting up to %.0f s: %s", wait, reasons)
            told = True
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)
