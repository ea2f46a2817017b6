"""Several trainers of one server at once: the same plan, in one batch size and in two, and different plans."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.figures import Turn, images_per_second, together
from benchmarks.processes import Failed, Server, Worker, headrace_server
from benchmarks.stage import Stage
from benchmarks.work import RESIZE, Work

TITLE = "many: 1 to 8 trainers of one server"
_MOST = 8
_STARTS_WITHIN = 60.0
_COUNTERS = ("made", "shared", "sent")


@dataclass(frozen=True)
class Team:
    """Trainers that run at the same time: the options of each."""

    name: str
    label: str
    members: Sequence[dict[str, Any]]


TEAMS = (
    Team("1", "1 trainer", [{}]),
    Team("2", "2 trainers, same plan", [{}] * 2),
    Team("4", "4 trainers, same plan", [{}] * 4),
    Team("8", "8 trainers, same plan", [{}] * 8),
    Team("sizes", "4 trainers, same plan, batches of 32 and 48", [{"batch_size": 32}, {"batch_size": 48}] * 2),
    Team("plans", "8 trainers, different plans", [{"seed": seed} for seed in range(8)]),
)


def run(stage: Stage, work: Work) -> dict[str, Any]:
    results: list[dict[str, Any]] = [{"name": t.name, "label": t.label, "turns": [], "samples": []} for t in TEAMS]
    asked = {"dataset": "jpeg", "transforms": RESIZE}
    stage.say(f"many: starting {_MOST} trainers")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(headrace_server(f"jpeg={work.jpegs()}")))
        arguments = {**asked, "address": server.address}
        batches = "benchmarks.contenders.headrace_client:arrays"
        workers = [stack.enter_context(Worker(batches, arguments, watch=server.pid, fresh=True)) for _ in range(_MOST)]
        for worker in workers:
            worker.wait_until_up(_STARTS_WITHIN)
        for number in range(stage.rounds):
            for team, result in zip(TEAMS, results, strict=True):
                if stage.time_left and "error" not in result:
                    _turn(stage, team, result, workers, server, number)
    return {"contenders": results}


def _turn(
    stage: Stage, team: Team, result: dict[str, Any], workers: Sequence[Worker], server: Server, number: int
) -> None:
    before = _samples(server.address)
    active = workers[: len(team.members)]
    try:
        # Another epoch in each turn, so that no batch is there from the last one.
        for worker, options in zip(active, team.members, strict=True):
            worker.begin(stage.warm, stage.seconds, epoch=1000 * number, **options)
        answers = [worker.answer(stage.warm + stage.seconds + 30) for worker in active]
    except Failed as error:
        result["error"] = str(error)
        stage.say(f"many: {team.label} FAILED: {error}")
        return
    turn: Turn = together(answers)
    turn["slowest"] = min(images_per_second(answer) for answer in answers)
    turn["fastest"] = max(images_per_second(answer) for answer in answers)
    result["turns"].append(turn)
    after = _samples(server.address)
    result["samples"].append({name: after[name] - before[name] for name in after if name in before})
    stage.say(f"many, round {number + 1} of {stage.rounds}: {team.label}: {images_per_second(turn):,.0f} images/s")


def _samples(address: str) -> dict[str, float]:
    """How many samples the server has decoded, has copied from another batch, and has sent."""
    text = httpx.get(f"{address}/metrics", trust_env=False).text
    found = dict.fromkeys(_COUNTERS, 0.0)  # a counter with a label is not there before its first
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        for counter, metric in zip(_COUNTERS, ("samples_made", "samples_shared", "samples"), strict=True):
            if name.partition("{")[0] == f"headrace_{metric}_total":
                found[counter] = found.get(counter, 0.0) + float(value.split()[-1])
    return found
