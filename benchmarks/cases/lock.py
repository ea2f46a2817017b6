"""What the server's Python costs per image: JPEGs of 8x8 pixels, so that next to nothing else is left to do.

Some two thousand times a second it is looked, from outside, whether a thread of the server holds the interpreter's lock
(`benchmarks/lock_watch.py`); the share of looks that found one, over the images a second, is the time under it for
each image. That is more than the work: on two busy cores a thread that holds the lock waits for a core, too. The whole
server's CPU time per image, in all threads, has the system's calls and the decoder in it.

Whether one process feeds sixteen cores, a machine with two cannot show. The server that stands in for it has sixteen
decoding threads, each of which waits a millisecond for an image, without the lock, in place of working for it
(`benchmarks/waiting_server.py`): 16,000 images/s, if nothing else took time.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.figures import images_per_second
from benchmarks.lock_watch import held_share
from benchmarks.processes import Failed, Server, Worker, headrace_server
from benchmarks.stage import Contender, Stage
from benchmarks.work import Work

TITLE = "lock: Python work per image"
_TRANSFORMS = [{"name": "Resize", "size": [8, 8]}]
_HEADRACE = "benchmarks.contenders.headrace_client:arrays"
_ASKED = {"dataset": "tiny", "transforms": _TRANSFORMS, "batch_size": 128}
_CORES = 16


def run(stage: Stage, work: Work) -> dict[str, Any]:
    folder = work.tiny()
    words = headrace_server(f"tiny={folder}")
    server = tuple(words)
    waiting = ("benchmarks.waiting_server", *words[2:], "--decode-threads", str(_CORES))
    contenders = [
        Contender("headrace", "headrace, 8x8 JPEGs, batches of 128", _HEADRACE, _ASKED, server),
        Contender("waiting", f"headrace, as if on {_CORES} cores", _HEADRACE, _ASKED, waiting),
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
    except (Failed, OSError) as error:
        found["held_error"] = str(error)
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
    worker.begin(stage.warm, stage.seconds)
    time.sleep(stage.warm)
    share = held_share(server.pid, stage.seconds)
    turn = worker.answer(stage.seconds + 60)
    return {"held_share": share, "held_us": share / images_per_second(turn) * 1e6}
