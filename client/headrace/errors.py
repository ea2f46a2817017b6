"""What can go wrong in the client, as one tree.

HeadraceError
├── UsageError                  you asked for something that cannot be (also a ValueError)
│   ├── PlanRefused             the server has no such dataset, split or transform, or the plan makes no batch
│   └── StateMismatch           a saved state is of another plan, other data or another version
└── ServiceError                the world failed
    ├── ConnectionFailed        nothing answers there, or it does not in time
    ├── NotHeadrace             something answers, but it is no headrace server
    ├── VersionMismatch         a headrace server of a protocol that this client does not speak
    ├── Unauthorized            the server asks for a token, or refuses this one
    ├── RequestRefused          the server answered a request with a problem
    ├── StreamBroken            a stream was cut, or what came is no frame of this plan
    ├── DataChanged             the server's data changed under a running plan
    ├── SampleFailed            the server could not make a sample, and says which
    └── TooManyReplaced         more samples were replaced than the budget allows
"""

from __future__ import annotations


class HeadraceError(Exception):
    """The root of everything that headrace's client raises on purpose. Each message is one line."""


def one_line(text: object) -> str:
    """What a server said, or what was found in place of one, as a message shows it."""
    line = " ".join(str(text).split())
    return line if len(line) <= 500 else f"{line[:500]}..."


class UsageError(HeadraceError, ValueError):
    """You asked for something that cannot be."""


class PlanRefused(UsageError):
    """The server has no such dataset, split or transform, or the plan makes no batch."""


class StateMismatch(UsageError):
    """A saved state is of another plan, of other data, or of another version; `parts` names what differs."""

    def __init__(self, message: str, parts: tuple[str, ...]) -> None:
        super().__init__(message)
        self.parts = parts


class ServiceError(HeadraceError):
    """The world failed: a server, a network, or data."""


class ConnectionFailed(ServiceError):
    """Nothing answers at the address, or it does not in time."""


class NotHeadrace(ServiceError):
    """Something answers at the address, but it is no headrace server."""


class VersionMismatch(ServiceError):
    """The server speaks a protocol that this client does not."""


class Unauthorized(ServiceError):
    """The server asks for a token, or does not accept this one."""


class RequestRefused(ServiceError):
    """The server answered a request with a problem: `status` is HTTP's, `code` the server's own (or None).

    `retry_after` is how many seconds the server asks to wait before the request is made again.
    """

    def __init__(self, message: str, status: int, code: str | None = None, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status, self.code, self.retry_after = status, code, retry_after

    @property
    def passing(self) -> bool:
        """Whether another moment may take it back: of a server that is full or draining, or a proxy without one."""
        return self.status in (408, 425, 429, 502, 503, 504)


class StreamBroken(ServiceError):
    """A stream was cut before its end, or what came is no frame of this plan; at `position` of `epoch`."""

    def __init__(self, message: str, epoch: int, position: int) -> None:
        super().__init__(f"epoch {epoch}, position {position}: {message}")
        self.epoch, self.position = epoch, position


class DataChanged(ServiceError):
    """The server's data changed under a running plan, so what comes next would not fit what came before."""


class SampleFailed(ServiceError):
    """The server could not make the sample `key` at `position` of `epoch`; with `retry` another one might."""

    def __init__(self, message: str, epoch: int, position: int, key: str | None, *, retry: bool = False) -> None:
        super().__init__(f"epoch {epoch}, position {position}: {message}")
        self.epoch, self.position, self.key, self.retry = epoch, position, key, retry


class TooManyReplaced(ServiceError):
    """More samples of an epoch could not be decoded, and were replaced, than the budget allows."""
