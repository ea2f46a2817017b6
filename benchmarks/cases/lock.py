"""What the server's Python costs per image: JPEGs of 8x8 pixels, so that next to nothing else is left to do.

py-spy looks a thousand times a second, without stopping the server, whether one of its threads holds the interpreter's
lock; the share of looks that found one, over the images a second, is the time under the lock for each image. The whole
server's CPU time per image, in all threads, bounds it from above: it has the system's calls and the decoder in it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.figures import images_per_second
from benchmarks.processes import Failed, Server, Worker, headrace_server
from benchmarks.stage import Contender, Stage
from benchmarks.work import Work

TITLE = "lock: Python work per image"
_TRANSFORMS = [{"name": "Resize", "size": [8, 8]}]
_HEADRACE = "benchmarks.contenders.headrace_client:arrays"
_ASKED = {"dataset": "tiny", "transforms": _TRANSFORMS, "batch_size": 128}
_LOOKS = 1000
"""A second."""


def run(stage: Stage, work: Work) -> dict[str, Any]:
    folder = work.tiny()
    server = tuple(headrace_server(f"tiny={folder}"))
    contenders = [
        Contender("headrace", "headrace, 8x8 JPEGs, batches of 128", _HEADRACE, _ASKED, server),
        Contender(
            "bare",
            "bare loop of the same decode and resize",
            "benchmarks.contenders.limits:decode_loop",
            {"folder": str(folder), "side": 8, "batch_size": 128},
        ),
    ]
    found: dict[str, Any] = {"contenders": stage.compare("lock", contenders)}
    try:
        found["rounds"] = _held_in_rounds(stage, server)
    except (Failed, OSError, subprocess.SubprocessError) as error:
        found["held_error"] = f"py-spy: {error}".splitlines()[0]
        stage.say(f"lock: FAILED: {found['held_error']}")
    return found


def _held_in_rounds(stage: Stage, words: tuple[str, ...]) -> list[dict[str, float]]:
    rounds = []
    with Server(words) as server, Worker(_HEADRACE, {**_ASKED, "address": server.address}, watch=server.pid) as worker:
        worker.wait_until_up(60)
        worker.first_batch(60)
        for number in range(stage.rounds):
            found = _held(stage, server, worker)
            stage.say(f"lock, round {number + 1} of {stage.rounds}: {found['held_us']:.1f} us under the lock per image")
            rounds.append(found)
    return rounds


def _held(stage: Stage, server: Server, worker: Worker) -> dict[str, float]:
    """Microseconds under the lock per image, while the worker takes batches."""
    seconds = max(1, round(stage.seconds))
    worker.begin(stage.warm, seconds + 2.0)  # py-spy needs a while to begin
    with tempfile.TemporaryDirectory() as folder:
        stacks = Path(folder) / "stacks"
        subprocess.run(
            [
                *(Path(sys.executable).parent / "py-spy", "record", "--gil", "--nonblocking", "--format", "raw"),
                *("--rate", str(_LOOKS), "--duration", str(seconds), "--output", stacks, "--pid", str(server.pid)),
            ],
            check=True,
            capture_output=True,
            timeout=seconds + 60,
        )
        looks = sum(int(line.rpartition(" ")[2]) for line in stacks.read_text().splitlines())
    turn = worker.answer(seconds + 60)
    share = looks / (_LOOKS * seconds)
    return {"held_share": share, "held_us": share / images_per_second(turn) * 1e6}
