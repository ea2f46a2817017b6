"""Where contenders take turns: all are up, one at a time works, and the order is the same in each round."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import Turn, images_per_second
from benchmarks.processes import Failed, Server, Worker
from benchmarks.procfs import children_cpu_seconds

_STARTS_WITHIN = 90.0
_SETTLES_WITHIN = 15.0
_QUIET = 0.1
"""Of a core."""
_LOOK = 0.25
"""Seconds."""
_PATIENCE = 30.0
"""Seconds that a turn may take beyond those it was given: a batch of 32 at 10 images/s takes 3."""


@dataclass(frozen=True)
class Contender:
    """Who takes part: a generator of (images, bytes), and the server that it reads from."""

    name: str
    label: str
    batches: str
    """As "module:function"."""
    arguments: dict[str, Any] = field(default_factory=dict)
    server: tuple[str, ...] | None = None
    """The words that start it; equal ones are one server. Its address becomes the argument `address`."""


@dataclass
class Stage:
    """The settings of a run, and the time that is left for it."""

    data: Path
    seconds: float
    warm: float
    rounds: int
    deadline: float
    """By `time.monotonic`."""
    scale: float = 1.0
    """Of the sizes of data and counts; less than one for a quick run."""
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        print(f"[{minutes:2}:{seconds:02}] {text}", flush=True)

    @property
    def time_left(self) -> bool:
        return time.monotonic() < self.deadline

    def compare(self, case: str, contenders: Sequence[Contender]) -> list[dict[str, Any]]:
        """Every contender in every round. One that fails is out, and its error line stands in its result."""
        results: list[dict[str, Any]] = [{"name": c.name, "label": c.label, "turns": []} for c in contenders]
        with contextlib.ExitStack() as stack:
            workers = self._started(case, contenders, results, stack)
            self._first_batches(case, workers, results)
            load = self._settle()
            self.say(f"{case}: all are up, and use {load:.0%} of a core while they wait")
            for number in range(self.rounds):
                for result, worker in zip(results, workers, strict=True):
                    if worker is not None and "error" not in result and self.time_left:
                        self._turn(f"{case}, round {number + 1} of {self.rounds}", worker, result)
        return results

    def _started(
        self,
        case: str,
        contenders: Sequence[Contender],
        results: Sequence[dict[str, Any]],
        stack: contextlib.ExitStack,
    ) -> list[Worker | None]:
        self.say(f"{case}: starting {', '.join(c.label for c in contenders)}")
        servers: dict[tuple[str, ...], Server | str] = {}
        workers: list[Worker | None] = []
        for contender, result in zip(contenders, results, strict=True):
            try:
                workers.append(stack.enter_context(_worker(contender, servers, stack)))
            except Failed as error:
                workers.append(None)
                self._failed(case, result, error)
        deadline = time.monotonic() + _STARTS_WITHIN
        for worker, result in zip(workers, results, strict=True):
            if worker is not None:
                try:
                    worker.wait_until_up(max(1.0, deadline - time.monotonic()))
                except Failed as error:
                    self._failed(case, result, error)
        return workers

    def _first_batches(self, case: str, workers: Sequence[Worker | None], results: Sequence[dict[str, Any]]) -> None:
        """One after the other, now that nobody is busy starting."""
        for worker, result in zip(workers, results, strict=True):
            if worker is not None and "error" not in result:
                try:
                    result["first_batch_ms"] = worker.first_batch(_STARTS_WITHIN)
                except Failed as error:
                    self._failed(case, result, error)

    def _settle(self) -> float:
        """Waits until nobody works any more: everybody has filled their queues, and waits for their turn."""
        deadline, load = time.monotonic() + _SETTLES_WITHIN, 1.0
        while load > _QUIET and time.monotonic() < deadline:
            load = _load(_LOOK)
        return load

    def _turn(self, place: str, worker: Worker, result: dict[str, Any]) -> None:
        self._settle()  # whoever had the turn before may still work ahead
        try:
            worker.begin(self.warm, self.seconds)
            turn: Turn = worker.answer(self.warm + self.seconds + _PATIENCE)
        except Failed as error:
            self._failed(place, result, error)
            return
        result["turns"].append(turn)
        self.say(f"{place}: {result['label']}: {images_per_second(turn):,.0f} images/s")

    def _failed(self, place: str, result: dict[str, Any], error: Failed) -> None:
        result["error"] = str(error)
        self.say(f"{place}: {result['label']} FAILED: {error}")


def _load(seconds: float) -> float:
    """The cores that this process's descendants keep busy."""
    before = children_cpu_seconds(os.getpid())
    time.sleep(seconds)
    return (children_cpu_seconds(os.getpid()) - before) / seconds


def _worker(contender: Contender, servers: dict[tuple[str, ...], Server | str], stack: contextlib.ExitStack) -> Worker:
    """Starts a contender, and its server unless that is up. Raises Failed."""
    words = contender.server
    if words is None:
        return Worker(contender.batches, contender.arguments)
    if words not in servers:
        try:
            servers[words] = stack.enter_context(Server(words))
        except Failed as error:
            servers[words] = f"its server: {error}"
    server = servers[words]
    if isinstance(server, str):
        raise Failed(server)
    return Worker(contender.batches, {**contender.arguments, "address": server.address}, watch=server.pid)
