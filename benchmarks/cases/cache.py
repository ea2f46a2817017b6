"""Epochs whose decoded images fit into --cache-mb: the first one against those after it."""

from __future__ import annotations

from typing import Any

from benchmarks.figures import Turn, images_per_second
from benchmarks.processes import Failed, Server, Worker, headrace_server
from benchmarks.stage import Stage
from benchmarks.work import Work

TITLE = "cache: a second epoch from memory"
TRANSFORMS: list[dict[str, Any]] = [
    {"name": "Resize", "size": 256},
    {"name": "RandomCrop", "size": 224},
    {"name": "RandomFlip"},
]
_CACHE_MB = 2048
_EPOCHS = 3
_PATIENCE = 60.0


def run(stage: Stage, work: Work) -> dict[str, Any]:
    """Each round has a server of its own, whose cache is empty."""
    folder = work.jpegs()
    labels = ("first epoch", "second epoch", "third epoch")
    results: list[dict[str, Any]] = [{"name": label.split()[0], "label": label, "turns": []} for label in labels]
    for number in range(stage.rounds):
        if not stage.time_left:
            break
        try:
            with Server(headrace_server(f"jpeg={folder}", "--cache-mb", str(_CACHE_MB))) as server:
                turns = _epochs(server)
        except Failed as error:
            return {"contenders": results, "error": str(error)}
        for result, turn in zip(results, turns, strict=True):
            result["turns"].append(turn)
        rates = ", ".join(f"{images_per_second(turn):,.0f}" for turn in turns)
        stage.say(f"cache, round {number + 1} of {stage.rounds}: {rates} images/s in the epochs")
    return {"contenders": results}


def _epochs(server: Server) -> list[Turn]:
    """A turn for each epoch, from its first batch asked for to its last."""
    arguments = {"address": server.address, "dataset": "jpeg", "transforms": TRANSFORMS}
    batches = "benchmarks.contenders.headrace_client:epochs"
    turns = []
    with Worker(batches, arguments, watch=server.pid, fresh=True) as worker:
        worker.wait_until_up(_PATIENCE)
        for epoch in range(_EPOCHS):
            worker.begin(0, 0, epoch=epoch)  # one item is an epoch
            turns.append(worker.answer(_PATIENCE))
    return turns
