"""A training process ends at once, and in silence, however its loop ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import DEADLINE, ServerProcess, wait_for
from hostile import Handler, batch_frame, hostile, say_stream

SECONDS = 6.0
"""How long a process may take to end after its loop has: TensorFlow alone takes a second, on a busy machine three."""

LOOPS = {
    "plain": "batches = train",
    "tf": "import tensorflow; batches = train.to_tf()",
    "tf, in another thread": "import tensorflow; batches = train.to_tf().prefetch(1)",
    "torch": (
        "from torch.utils.data import DataLoader\n"
        "loader = DataLoader(train.to_torch(), batch_size=None, num_workers=2, multiprocessing_context='fork')\n"
        # Or Ctrl-C comes while a tensor is handed over, of which multiprocessing complains in two threads at once.
        "batches = (time.sleep(0.2) or batch for batch in loader)"
    ),
}
SCRIPT = """
import sys, time, warnings
import headrace
url, name, split, size, ending = sys.argv[1:]
client = headrace.connect(url, wait=0)
train = client.dataset(name, split=split or None, batch_size=int(size), epochs=None if ending == "end" else 10**6)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what the frameworks say of themselves while they are imported
    {loop}
for number, batch in enumerate(batches):
    print("batch", number, flush=True)
    if number == 2 and ending == "break":
        break
    if number == 2 and ending == "error":
        raise SystemExit("an error of the trainer's")
print("over", flush=True)
"""


class Trainer:
    """A training script in a process of its own."""

    def __init__(self, loop: str, ending: str, url: str, name: str, split: str, size: int, folder: Path) -> None:
        lines = LOOPS[loop].replace("\n", "\n    ")
        self._out = folder / "stdout"
        self._errors = folder / "stderr"
        # The framework's own complaints are not ours; those about what is left open are.
        strict = ["-W", "error::ResourceWarning", "-W", "error::RuntimeWarning"]
        words = [sys.executable, *strict, "-c", SCRIPT.format(loop=lines), url, name, split, str(size), ending]
        env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": ""}
        with self._out.open("wb") as out, self._errors.open("wb") as errors:
            self.process = subprocess.Popen(words, stdout=out, stderr=errors, env=env, start_new_session=True)

    @property
    def lines(self) -> list[str]:
        return self._out.read_text().split("\n")

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def wait_until(self, line: str) -> None:
        wait_for(lambda: line in self.lines or self.process.poll() is not None, line, 2 * DEADLINE)
        assert line in self.lines, self.errors

    def seconds_to_the_end(self) -> float:
        began = time.monotonic()
        try:
            self.process.wait(SECONDS)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        return time.monotonic() - began

    def press_ctrl_c(self) -> None:
        """As a terminal does: the whole group hears it, workers too."""
        os.killpg(self.process.pid, signal.SIGINT)


ENDINGS = [(loop, ending) for loop in LOOPS for ending in ("end", "break", "error")]
for loop, ending in (("tf", "end"), ("tf, in another thread", "end"), ("tf, in another thread", "error")):
    ENDINGS.remove((loop, ending))  # the same as "break" to TensorFlow, and it starts slowly


@pytest.mark.parametrize(("loop", "ending"), ENDINGS)
def test_a_process_ends_with_its_loop(server: ServerProcess, tmp_path: Path, loop: str, ending: str) -> None:
    trainer = Trainer(loop, ending, server.url, "flowers", "train", 10, tmp_path)
    trainer.wait_until("batch 2" if ending == "error" else "over")
    assert trainer.seconds_to_the_end() < SECONDS
    assert trainer.errors == ("an error of the trainer's\n" if ending == "error" else "")
    assert trainer.process.returncode == (1 if ending == "error" else 0)


ENDING_SLOWLY = """
import atexit, sys, time
atexit.register(time.sleep, 1)  # the last of all: daemon threads go on meanwhile
import headrace
headrace.connect(sys.argv[1:])
"""


def test_nothing_is_said_of_a_server_that_is_tried_again_while_the_process_ends(server: ServerProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        unused = f"http://127.0.0.1:{listener.getsockname()[1]}"
    words = [sys.executable, "-c", ENDING_SLOWLY, server.url, unused]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def without_resource_sharer(said: str) -> str:
    """multiprocessing's own thread in torch's workers complains where Ctrl-C comes while it hands over a tensor.

    So does its socket, of the kind that has no network; ours have one.
    """
    thread = r"Traceback \(most recent call last\):\n  File \"[^\"]*resource_sharer\.py\".*?\n(?=\S).*?\n"
    unclosed = r"(Exception ignored in: <socket[^>]* family=1,[^>]*>\n)?ResourceWarning: [^>]* family=1,[^>]*>\n"
    return re.sub(unclosed, "", re.sub(thread, "", said, flags=re.S))


def assert_interrupted(trainer: Trainer) -> None:
    """It ended by Ctrl-C, and said nothing but so."""
    assert trainer.seconds_to_the_end() < SECONDS
    said = without_resource_sharer(trainer.errors)
    assert "KeyboardInterrupt" in said
    assert said.count("Traceback (most recent call last)") == 1 + said.count("During handling"), said
    for words in ("Warning", "Exception ignored", "StreamBroken", "leaked"):
        assert words not in said
    if "pybind11" not in said:  # TensorFlow wraps a KeyboardInterrupt that comes while it makes an error of its own
        assert said.strip().split("\n")[-1] == "KeyboardInterrupt"
        assert trainer.process.returncode == -signal.SIGINT


@pytest.mark.parametrize("loop", LOOPS)
def test_ctrl_c_ends_a_process_whose_batches_flow(server: ServerProcess, tmp_path: Path, loop: str) -> None:
    for _ in range(3):
        trainer = Trainer(loop, "never", server.url, "flowers", "train", 10, tmp_path)
        trainer.wait_until("batch 5")
        trainer.press_ctrl_c()
        with contextlib.suppress(subprocess.TimeoutExpired):
            trainer.seconds_to_the_end()
        # At one Ctrl-C of some twenty TensorFlow 2.21 corrupts its memory, and one of some thirty is lost in a __del__
        # of its own; also in a loop over constants, without headrace.
        lost = trainer.process.returncode in (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGKILL)
        if not (lost and loop.startswith("tf")):
            break
    assert not lost, trainer.errors
    assert_interrupted(trainer)


@pytest.mark.parametrize("loop", LOOPS)
def test_ctrl_c_ends_a_process_whose_server_has_fallen_silent(tmp_path: Path, loop: str) -> None:
    frames = [batch_frame(start, 1) for start in range(4)]
    stalled = say_stream(*frames, Handler.wait)

    def stream(handler: Handler) -> None:
        """Every other sample to either of two workers."""
        start, stride = (int(handler.path.split(f"{name}=")[1].split("&")[0]) for name in ("start", "stride"))
        say_stream(*frames[start::stride], Handler.wait)(handler)

    with hostile({"/stream": stream if loop == "torch" else stalled}) as server:
        trainer = Trainer(loop, "never", server.url, "made-up", "", 1, tmp_path)
        trainer.wait_until("batch 3")
        trainer.press_ctrl_c()
        assert_interrupted(trainer)
