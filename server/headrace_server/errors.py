"""What can go wrong on the server, as one tree.

ServerError
├── ConfigurationError        the operator misused it: a folder that is not there, no images in it, ...
├── WorkersFailed             the processes that should serve do not stay alive, or do not end
├── UnknownSplit              a name that the dataset does not have
└── SampleError               one sample failed; says which, at which stage, and why
    ├── SampleUndecodable     its content cannot be decoded: a pure function of its bytes, so it may be replaced
    ├── SampleFailed          a transform of the operator's own failed on it, or did not do what it declared
    └── SampleUnavailable     its content could not be had (read failed, timed out): retried, never replaced
        ├── SampleVanished    it is not there any more
        └── SampleChanged     its size or time is not what was indexed
"""

from __future__ import annotations

from collections.abc import Iterable

from headrace_proto.checks import found


class ServerError(Exception):
    """The root of everything that headrace's server raises on purpose."""


class ConfigurationError(ServerError):
    """The server was asked for something that it cannot serve; the message is one line for the operator."""


class WorkersFailed(ServerError):
    """The processes of a server ended one after the other, or did not end when told to; one line for the operator."""


class UnknownSplit(ServerError, LookupError):
    """A dataset was asked for a split that it does not have, or for none where it has several."""

    def __init__(self, name: str | None, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(known)
        said = "no split was named" if name is None else f"there is no split {found(name)}"
        super().__init__(f"{said}; expected one of: {', '.join(self.known)}")


class SampleError(ServerError):
    """One sample failed.

    Attributes:
        reason: what was found and what was expected, without the names below.
        dataset, split: where the sample is from.
        key: its relative path, as text.
        stage: the step that failed, such as "read" or "decode".
        code: names the kind of error in frames.
        retry: whether another moment or another server may do better.
    """

    code = "sample"
    retry = False

    def __init__(self, reason: str, *, dataset: str, split: str, key: str, stage: str) -> None:
        self.reason = reason
        self.dataset = dataset
        self.split = split
        self.key = key
        self.stage = stage
        super().__init__(f"{dataset} ({split}): {key}: {stage}: {reason}")


class SampleUndecodable(SampleError):
    """The sample's bytes are no image that can be decoded; every server finds the same, so it may be replaced."""

    code = "sample-undecodable"


class SampleFailed(SampleError):
    """A transform that the operator added failed on the sample, or gave an array other than it declared."""

    code = "sample-failed"


class SampleUnavailable(SampleError):
    """The sample's bytes could not be had now; another moment or another server may have them, so never replaced."""

    code = "sample-unavailable"
    retry = True


class SampleVanished(SampleUnavailable):
    """The sample is not there any more."""


class SampleChanged(SampleUnavailable):
    """The sample is no longer what was indexed."""
