"""Real parts for tests: folders of images, and servers in processes of their own."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

import httpx
import msgpack
import numpy as np
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

LONG = bool(os.environ.get("HEADRACE_FAULTS"))
"""Whether faults are injected for minutes, as `make faults` does, and not for moments."""
Record = Callable[[str], None]
"""Takes a figure that a test found, for `make faults` to print."""
DEADLINE = 30.0
"""Seconds after which a condition that a test waits for counts as never coming."""


def wait_for(condition: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
    """Returns as soon as `condition()` holds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.01)


def write_image(path: Path, seed: int, size: tuple[int, int] = (24, 32), **options: Any) -> None:
    """A picture of smooth noise, (height, width) pixels, no two alike; its format is its name's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    Image.fromarray(coarse).resize((size[1], size[0]), Image.Resampling.BICUBIC).save(path, **options)


def write_dataset(root: Path, counts: dict[str, int], suffix: str = ".png") -> Path:
    """Class folders: {"train/cat": 3} makes three pictures in train/cat."""
    seed = 0
    for folder, count in counts.items():
        for number in range(count):
            write_image(root / folder / f"{number:05}{suffix}", seed)
            seed += 1
    return root


class ServerProcess:
    """`headrace serve` in a process of its own, on a free port of loopback. Use it in a `with`."""

    def __init__(self, *arguments: str | Path, port: int = 0, env: dict[str, str] | None = None) -> None:
        words = [sys.executable, "-m", "headrace", "serve", *map(str, arguments), "--port", str(port)]
        self.process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._collect, args=(pipe, lines), daemon=True)
            for pipe, lines in ((self.process.stdout, self.lines), (self.process.stderr, self.errors))
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> ServerProcess:
        wait_for(lambda: self._serving() is not None or self.process.poll() is not None, "the server to listen")
        assert self._serving() is not None, f"the server ended: {''.join(self.lines + self.errors)}"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        line = self._serving()
        assert line is not None
        return line.split(" on ")[1].split()[0]

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends the server and returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            status = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        for reader in self._readers:
            reader.join(DEADLINE)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return status

    def _serving(self) -> str | None:
        return next((line for line in list(self.lines) if "serving on" in line), None)

    @staticmethod
    def _collect(pipe: IO[str], lines: list[str]) -> None:
        lines.extend(pipe)


def run_headrace(*words: Sequence[str] | str | Path, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "headrace", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def importable(folder: Path) -> dict[str, str]:
    """The environment of a process that can import the modules in a folder, too."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))}


Frame = tuple[dict[str, Any], bytes]
"""A frame's header, unpacked, and its payload."""


def frames_of(data: bytes) -> list[Frame]:
    """The frames in a stream's bytes, by msgpack alone. Fails where the bytes end inside one."""
    unpacker = msgpack.Unpacker(max_buffer_size=2**31)
    unpacker.feed(data)
    frames = [(msgpack.unpackb(header), payload) for header, payload in unpacker]
    assert unpacker.tell() == len(data), "the bytes end inside a frame"
    return frames


class Api(httpx.Client):
    """Plain HTTP to a server, past any proxy of the environment."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(base_url=server.url, trust_env=False, timeout=DEADLINE)

    def plan(self, dataset: str, **fields: Any) -> dict[str, Any]:
        """What the server answers to a plan that it takes."""
        answer = self.post("/v1/plans", json={"dataset": dataset, **fields})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def slice(self, plan: Mapping[str, Any], start: int, stop: int, *, epoch: int = 0, **query: Any) -> bytes:
        answer = self.get(slice_path(plan, start, stop, epoch=epoch, **query))
        assert answer.status_code == 200, answer.text
        return answer.content

    def frames(self, plan: Mapping[str, Any], *, epoch: int = 0, **query: Any) -> list[Frame]:
        """The frames of a whole stream."""
        answer = self.get(stream_path(plan, epoch=epoch, **query))
        assert answer.status_code == 200, answer.text
        return frames_of(answer.content)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        families = text_string_to_metric_families(self.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def wait_until_nothing_is_prefetched() -> None:
    """Pipelines of TensorFlow that were left open lie in cycles, and their threads wait until the collector comes."""
    gc.collect()
    wait_for(lambda: not [t for t in threading.enumerate() if t.name == "headrace-prefetch"], "the threads to end")


def unread(server: ServerProcess, path: str, *, buffer: int = 4096, client: str = "unread") -> socket.socket:
    """A connection over which something was asked for, and whose answer nobody takes; `buffer` bytes of it come."""
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nHeadrace-Client: {client}\r\n\r\n"
    connection.sendall(head.encode())
    return connection


def slice_path(plan: Mapping[str, Any], start: int, stop: int, *, epoch: int = 0, **query: Any) -> str:
    return f"/v1/plans/{plan['id']}/epochs/{epoch}/slices/{start}-{stop}?{urlencode(query)}"


def stream_path(plan: Mapping[str, Any], *, epoch: int = 0, **query: Any) -> str:
    return f"/v1/plans/{plan['id']}/stream?{urlencode({'epoch': epoch, **query})}"
