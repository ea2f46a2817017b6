"""Waiting for servers that are not up yet."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from .endpoint import Endpoint
from .errors import ConnectionFailed, RequestRefused, ServiceError

logger = logging.getLogger("headrace")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


def wait_until_ready(endpoints: Sequence[Endpoint], wait: float) -> dict[Endpoint, ServiceError]:
    """Returns when one is ready, and why the others are not; waits while all refuse connections or say 503.

    Raises ConnectionFailed after `wait` seconds; NotHeadrace, VersionMismatch and Unauthorized at once.
    """
    began, pause, told = time.monotonic(), _FIRST_PAUSE, False
    while True:
        failures: dict[Endpoint, ServiceError] = {}
        for endpoint in endpoints:
            try:
                endpoint.check_identity()
            except (ConnectionFailed, RequestRefused) as error:
                endpoint.raise_if_final(error)
                failures[endpoint] = error
        if len(failures) < len(endpoints):
            return failures
        waited = time.monotonic() - began
        left = wait - waited
        reasons = "; ".join(map(str, failures.values()))
        if left <= 0:
            first = next(iter(failures.values()))
            raise ConnectionFailed(f"{reasons} (waited {waited:.0f} s)" if waited > 1 else reasons) from first
        if waited > 1 and not told:
            logger.warning("waiting up to %.0f s: %s", wait, reasons)
            told = True
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE)
