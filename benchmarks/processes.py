"""The processes of a run: servers, and the contenders that are told when it is their turn."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.worker import MARK

ROOT = Path(__file__).parent.parent
_SERVING = "serving on "
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "PYTHONUNBUFFERED": "1"}


class Failed(Exception):
    """A process did not do what it is there for; the message is one line."""


class Process:
    """A process of this run and whatever it starts, which ends with it. Use it in a `with`."""

    def __init__(self, words: Sequence[str]) -> None:
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env={**os.environ, **_QUIET, "PYTHONPATH": paths},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._last_words = "no output"
        threading.Thread(target=self._collect, daemon=True).start()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    def line_with(self, mark: str, seconds: float) -> str:
        """What comes after `mark` in the next line that has it. Raises Failed where none comes in time."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise Failed(f"nothing was heard of it for {seconds:.0f} s") from None
            if line is None:
                raise Failed(f"the process ended: {self._last_words}")
            if mark in line:
                return line.partition(mark)[2].strip()
            self._last_words = line.strip() or self._last_words

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Failed(f"the process ended: {self._last_words}") from error

    def stop(self) -> None:
        """Ends the process and its children, gently first."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, how)
            except ProcessLookupError:
                break
            try:
                self._process.wait(3)
            except subprocess.TimeoutExpired:
                continue
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:  # what was told last could not be written
                continue

    def _collect(self) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                self._lines.put(line)
        except ValueError:  # closed by `stop`
            pass
        self._lines.put(None)


class Server(Process):
    """A server; `address` is where it says that it serves. Raises Failed where it does not within a minute."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(words)
        self.address = ""
        try:
            self.address = self.line_with(_SERVING, 60).split()[0]
        except Failed:
            self.stop()
            raise

    def __enter__(self) -> Server:
        return self


def headrace_server(*words: str | Path) -> list[str]:
    """What runs `headrace serve` on a free port."""
    return ["headrace", "serve", *map(str, words), "--port", "0", "--log-level", "warning"]


class Worker(Process):
    """A contender in a process of its own; see `benchmarks.worker`."""

    def __init__(
        self, batches: str, arguments: dict[str, Any], *, watch: int | None = None, fresh: bool = False
    ) -> None:
        spec = {"batches": batches, "arguments": arguments, "watch": watch, "fresh": fresh}
        super().__init__(["benchmarks.worker", json.dumps(spec)])

    def __enter__(self) -> Worker:
        return self

    def wait_until_up(self, seconds: float) -> None:
        """Until everything is imported. Raises Failed."""
        self.answer(seconds)

    def first_batch(self, seconds: float) -> float:
        """Milliseconds to the first batch, connecting included. Raises Failed."""
        self.tell("")
        return self.answer(seconds)["first_batch_ms"]

    def begin(self, warm: float, seconds: float, **arguments: Any) -> None:
        """Starts a turn; `arguments` are for contenders that begin anew."""
        self.tell(json.dumps({"warm": warm, "seconds": seconds, "arguments": arguments}))

    def answer(self, seconds: float) -> dict[str, float]:
        """What it says next. Raises Failed where that is an error, or does not come in time."""
        message: dict[str, Any] = json.loads(self.line_with(MARK, seconds))
        if "error" in message:
            raise Failed(message["error"])
        return message
