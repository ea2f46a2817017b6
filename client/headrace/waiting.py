"""Waiting for servers that are not up yet."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from .endpoint import Endpoint
from .errors import ConnectionFailed, ServiceError

logger = logging.getLogger("headrace")
MOST_STRANGE = 3
"""What is no answer of a headrace server is asked for so often: it may be a proxy's, or damaged."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


def wait_until_ready(endpoints: Sequence[Endpoint], wait: float) -> dict[Endpoint, ServiceError]:
    """Returns when one is ready, and why the others are not; waits while all refuse connections or say 503.

    Raises ConnectionFailed after `wait` seconds; NotHeadrace, VersionMismatch and Unauthorized as soon as they came
    MOST_STRANGE times, or at once where `wait` is 0.
    """
    began, pause, told, strange = time.monotonic(), _FIRST_PAUSE, False, 0
    while True:
        failures: dict[Endpoint, ServiceError] = {}
        before = strange
        for endpoint in endpoints:
            try:
                endpoint.check_identity()
            except ServiceError as error:
                failures[endpoint] = error
                final = endpoint.final(error)
                strange += final is not None
                if final is not None and (strange == MOST_STRANGE or not wait):
                    raise final from final.__cause__
        if strange == before and len(failures) < len(endpoints):
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
