"""The headers of the four kinds of frames: made by the server, checked by the client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import arrays, checks
from .frame import MAX_ENTRIES, MAX_PAYLOAD, PROTOCOL, FrameError
from .plan import Output

COMPLETE, DRAINING = "complete", "draining"
"""An `end` frame's reasons: the epoch is over, or the server is going away."""
_STRING_BYTES = 4
"""That NumPy takes for a character. All strings of an array take as many as the longest."""


@dataclass(frozen=True)
class Replaced:
    """A sample whose content could not be decoded, and the one that stands in its place."""

    position: int
    key: str
    by: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        return {"position": self.position, "key": self.key, "by": self.by, "reason": self.reason}


@dataclass(frozen=True)
class Batch:
    """A `batch` frame's header: samples [start, start + count) of an epoch's order."""

    plan: str
    engine: str
    epoch: int
    start: int
    count: int
    tensors: Sequence[Mapping[str, Any]]
    strings: Mapping[str, Sequence[str]] = field(default_factory=dict)
    escaped: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """For each string column, the samples in the batch whose string was not UTF-8 and is escaped."""
    replaced: Sequence[Replaced] = ()

    def header(self) -> dict[str, Any]:
        if self.count > MAX_ENTRIES:
            raise FrameError(f"a batch has at most {MAX_ENTRIES} samples, found {self.count}: ask for a smaller one")
        header = {
            "protocol": PROTOCOL,
            "kind": "batch",
            "plan": self.plan,
            "engine": self.engine,
            "epoch": self.epoch,
            "start": self.start,
            "count": self.count,
            "tensors": list(self.tensors),
            "strings": dict(self.strings),
        }
        if self.escaped:
            header["escaped"] = dict(self.escaped)
        if self.replaced:
            header["replaced"] = [entry.to_json() for entry in self.replaced]
        return header


@dataclass(frozen=True)
class End:
    """An `end` frame's header: the stream is over; `next` is the position that it would have gone on from."""

    epoch: int
    next: int
    reason: str

    def header(self) -> dict[str, Any]:
        return {"protocol": PROTOCOL, "kind": "end", "epoch": self.epoch, "next": self.next, "reason": self.reason}


@dataclass(frozen=True)
class Failure:
    """An `error` frame's header: the stream ends here, because of one sample or of the server."""

    code: str
    message: str
    epoch: int
    position: int
    key: str | None = None
    retry: bool = False
    """True where another server, or a later moment, may answer otherwise."""

    def header(self) -> dict[str, Any]:
        return {
            "protocol": PROTOCOL,
            "kind": "error",
            "code": self.code,
            "message": self.message,
            "epoch": self.epoch,
            "position": self.position,
            "key": self.key,
            "retry": self.retry,
        }


@dataclass(frozen=True)
class Ping:
    """A `ping` frame's header: nothing to send yet, and alive."""

    def header(self) -> dict[str, Any]:
        return {"protocol": PROTOCOL, "kind": "ping"}


Message = Batch | End | Failure | Ping


def parse(header: Mapping[str, Any], like: Batch | None = None) -> Message:
    """The message in a frame's header. Unknown keys are ignored; an unknown kind is an error.

    `like` is a batch of the same plan that was parsed before: what is the same in both is not looked at again.
    """
    kind = header["kind"]
    try:
        if kind == "batch":
            return _batch(header, like)
        if kind == "end":
            return End(
                epoch=checks.integer("epoch", header["epoch"], 0),
                next=checks.integer("next", header["next"], 0),
                reason=checks.text("reason", header["reason"]),
            )
        if kind == "error":
            return _failure(header)
    except KeyError as error:
        held = checks.found(list(header))
        raise FrameError(f"a {kind} frame's header must have the key {error}, it has {held}") from error
    except ValueError as error:
        raise FrameError(f"a {kind} frame's header is not as it should be: {error}") from error
    if kind == "ping":
        return Ping()
    raise FrameError(f"this reader knows the kinds batch, end, error and ping, the frame says {checks.found(kind)}")


def check_batch(batch: Batch, outputs: Sequence[Output], payload_length: int, like: Batch | None = None) -> None:
    """Raises FrameError unless the header and the payload's length are what the plan's outputs give for its count.

    `like` is a batch that has passed this check, and that `parse` was given.
    """
    if like is None or batch.tensors is not like.tensors:
        tensors, _ = arrays.describe(outputs, batch.count)
        if list(batch.tensors) != tensors:
            raise FrameError(f"the plan gives the tensors {tensors}, the frame says {checks.found(batch.tensors)}")
    expected = arrays.payload_length(batch.tensors)
    if payload_length != expected:
        raise FrameError(f"{batch.count} samples of this plan have {expected} bytes, the frame says {payload_length}")
    names = [output.name for output in arrays.string_outputs(outputs)]
    for name in names:
        _check_strings(name, batch.strings.get(name, ()), batch.count)
    if batch.strings.keys() - set(names):
        said = checks.found(list(batch.strings))
        raise FrameError(f"the plan gives the columns of strings {checks.found(names)}, the frame says {said}")


def _check_strings(name: str, values: Sequence[str], count: int) -> None:
    if len(values) != count:
        raise FrameError(f"the frame has not {count} strings in the column {checks.found(name)}")
    if _STRING_BYTES * count * max(map(len, values)) > MAX_PAYLOAD:
        raise FrameError(
            f"the strings in the column {checks.found(name)} would be an array of more than {MAX_PAYLOAD} bytes"
        )


def _batch(header: Mapping[str, Any], like: Batch | None) -> Batch:
    start = checks.integer("start", header["start"], 0)
    count = checks.integer("count", header["count"], 1, MAX_ENTRIES)
    plan, engine, tensors = header["plan"], header["engine"], header["tensors"]
    if like is not None and (plan, engine, count, tensors) == (like.plan, like.engine, like.count, like.tensors):
        tensors = like.tensors
    else:
        plan, engine = checks.text("plan", plan), checks.text("engine", engine)
        tensors = [_tensor(entry) for entry in _list("tensors", tensors)]
    return Batch(
        plan=plan,
        engine=engine,
        epoch=checks.integer("epoch", header["epoch"], 0),
        start=start,
        count=count,
        tensors=tensors,
        strings={
            checks.text("a column's name", name): _strings(name, values)
            for name, values in _map("strings", header["strings"]).items()
        },
        escaped={
            checks.text("a column's name", name): [
                checks.integer("escaped", item, 0, count - 1) for item in _list("escaped", items)
            ]
            for name, items in _map("escaped", header.get("escaped", {})).items()
        },
        replaced=tuple(_replaced(entry, start, count) for entry in _list("replaced", header.get("replaced", []))),
    )


def _tensor(entry: Any) -> dict[str, Any]:
    entry = _map("a tensor", entry)
    return {
        "name": checks.text("a tensor's name", entry["name"]),
        "dtype": checks.text("a tensor's dtype", entry["dtype"]),
        "shape": [checks.integer("a tensor's side", side, 0) for side in _list("a tensor's shape", entry["shape"])],
        "offset": checks.integer("a tensor's offset", entry["offset"], 0),
        "length": checks.integer("a tensor's length", entry["length"], 0),
    }


def _replaced(entry: Any, start: int, count: int) -> Replaced:
    entry = _map("a replaced sample", entry)
    return Replaced(
        position=checks.integer("a replaced sample's position", entry["position"], start, start + count - 1),
        key=checks.string("a replaced sample's key", entry["key"]),
        by=checks.string("a replaced sample's by", entry["by"]),
        reason=checks.string("a replaced sample's reason", entry["reason"]),
    )


def _failure(header: Mapping[str, Any]) -> Failure:
    return Failure(
        code=checks.text("code", header["code"]),
        message=checks.text("message", header["message"]),
        epoch=checks.integer("epoch", header["epoch"], 0),
        position=checks.integer("position", header["position"], 0),
        key=None if header["key"] is None else checks.string("key", header["key"]),
        retry=checks.boolean("retry", header["retry"]),
    )


def _strings(name: str, values: Any) -> list[str]:
    if not isinstance(values, list) or not {str}.issuperset(map(type, values)):
        raise ValueError(f"the column {checks.found(name)} must be a list of strings, found {checks.found(values)}")
    return values


def _list(where: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{where} must be a list, found {checks.found(value)}")
    return value


def _map(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be a map, found {checks.found(value)}")
    return value
