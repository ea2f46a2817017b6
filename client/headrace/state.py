"""A saved place in training: plain JSON data, checked when it comes back."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace_proto import checks
from headrace_proto.plan import Plan, PlanInfo

from .errors import StateMismatch
from .positions import Position, normal

VERSION = 1
logger = logging.getLogger("headrace")
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Plan) if field.name != "dataset"}
"""What a resolved plan leaves out."""


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
    saved = _place(data)
    differing = _differences(data, info)
    if allow_changed:
        differing.pop("data", None)
    if differing or (data["plan"] != info.id and not allow_changed):
        differing = differing or {"plan": f"id {data['plan']}, now {info.id}"}
        listing = "; ".join(f"{part} was {words}" for part, words in differing.items())
        hint = " (allow_changed=True accepts other data)" if "data" in differing else ""
        raise StateMismatch(f"the state is of another plan: {listing}{hint}", tuple(differing))
    if saved.position.samples > info.samples and not allow_changed:
        raise StateMismatch(
            f"the state stands at sample {saved.position.samples} of an epoch of {info.samples}: it was damaged",
            ("samples",),
        )
    if data["engine"] != info.engine:
        logger.warning(
            "the state is from a server that decodes with %s, this one decodes with %s: pixels may differ slightly",
            checks.found(data["engine"]),
            info.engine,
        )
    place = normal(saved.position, info.samples)
    return State(place, saved.replaced if place == saved.position else 0)


def _place(data: Any) -> State:
    """The place in JSON data. Raises StateMismatch where it has not the form of a state."""
    if not isinstance(data, Mapping) or data.get("version") != VERSION:
        found = checks.found(data.get("version") if isinstance(data, Mapping) else data)
        raise StateMismatch(f"a state of version {VERSION} is needed, found {found}", ("version",))
    try:
        for part in ("plan", "engine", "fingerprint"):
            checks.text(part, data[part])
        if not isinstance(data["fields"], Mapping):
            raise ValueError(f"fields must be an object, found {checks.found(data['fields'])}")
        position = Position(checks.integer("epoch", data["epoch"], 0), checks.integer("samples", data["samples"], 0))
        return State(position, checks.integer("replaced", data["replaced"], 0))
    except KeyError as error:
        raise StateMismatch(f"this is no state of headrace: it has no {error}", ("version",)) from error
    except ValueError as error:
        raise StateMismatch(f"this is no state of headrace: {error}", ("version",)) from error


def _differences(data: Mapping[str, Any], info: PlanInfo) -> dict[str, str]:
    """What differs, by part: "<then>, now <now>"."""
    then, now = {**_DEFAULTS, **data["fields"]}, {**_DEFAULTS, **info.plan}
    differing = {
        field: f"{_shown(field, then.get(field))}, now {_shown(field, now.get(field))}"
        for field in sorted({*then, *now})
        if then.get(field) != now.get(field)
    }
    if data["fingerprint"] != info.fingerprint:
        differing["data"] = f"{str(data['fingerprint'])[:12]}, now {info.fingerprint[:12]}"
    return differing


def _shown(field: str, value: Any) -> str:
    return "as the transforms end" if field == "dtype" and value is None else checks.found(value)
