"""A saved place in training: plain JSON data, checked when it comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace_proto import checks
from headrace_proto.plan import PlanInfo

from .errors import StateMismatch
from .positions import Position, normal

VERSION = 1


@dataclass(frozen=True)
class State:
    """A position, and how many samples of its epoch were replaced so far."""

    position: Position
    replaced: int = 0


def save(state: State, info: PlanInfo) -> dict[str, Any]:
    """The state as JSON data, with what is needed to say later which part of the plan differs."""
    return {
        "version": VERSION,
        "plan": info.id,
        "engine": info.engine,
        "epoch": state.position.epoch,
        "samples": state.position.samples,
        "replaced": state.replaced,
        "fingerprint": info.fingerprint,
        "fields": dict(info.plan),
    }


def restore(data: Any, info: PlanInfo, *, allow_changed: bool = False) -> State:
    """The state in JSON data. Raises StateMismatch, naming the parts that differ from the plan of `info`.

    With `allow_changed` the data may have changed; the rest of the plan may not.
    """
    if not isinstance(data, Mapping) or data.get("version") != VERSION:
        found = data.get("version") if isinstance(data, Mapping) else checks.found(data)
        raise StateMismatch(f"a state of version {VERSION} is needed, found {found!r}", ("version",))
    try:
        epoch = checks.integer("the state's epoch", data["epoch"], 0)
        samples = checks.integer("the state's samples", data["samples"], 0)
        replaced = checks.integer("the state's replaced", data["replaced"], 0)
        differing = _differences(data, info)
    except (KeyError, TypeError, ValueError) as error:
        raise StateMismatch(f"this is no state of headrace: {error!r}", ("version",)) from error
    if allow_changed:
        differing.pop("data", None)
    if differing or (data["plan"] != info.id and not allow_changed):
        differing = differing or {"plan": f"id {data['plan']}, now {info.id}"}
        listing = "; ".join(f"{part} was {words}" for part, words in differing.items())
        hint = " (allow_changed=True accepts other data)" if "data" in differing else ""
        raise StateMismatch(f"the state is of another plan: {listing}{hint}", tuple(differing))
    return State(normal(Position(epoch, samples), info.samples), replaced)


def _differences(data: Mapping[str, Any], info: PlanInfo) -> dict[str, str]:
    """What differs, by part: "<then>, now <now>"."""
    then, now = data["fields"], info.plan
    differing = {
        field: f"{checks.found(then.get(field))}, now {checks.found(now.get(field))}"
        for field in sorted({*then, *now})
        if then.get(field) != now.get(field)
    }
    if data["fingerprint"] != info.fingerprint:
        differing["data"] = f"{str(data['fingerprint'])[:12]}, now {info.fingerprint[:12]}"
    return differing
