"""Reads that hang: they are told of, made up for, and become an error that names the sample."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from harness import wait_for, write_dataset
from test_connect import free_port

import headrace
from headrace_server.reading import Reader


class Hanging:
    """A source whose storage is away."""

    def __init__(self) -> None:
        self.back = threading.Event()

    def read(self, _split: str, _sample: int) -> bytes:
        self.back.wait(30)
        return b"there"


def test_a_read_that_hangs_is_told_of_once_and_made_up_for() -> None:
    reader, source, told, begun = Reader(4, 0, timeout=0.6), Hanging(), [], threading.Event()
    reader.on_hanging = begun.set
    found: list[object] = []
    reading = threading.Thread(target=lambda: found.append(reader.read(source, "all", 0, lambda: told.append(1))))  # type: ignore[arg-type]
    reading.start()
    assert begun.wait(10)
    assert reader.hanging_elsewhere == 1
    assert not reader.quick
    while not told:
        assert reading.is_alive()
        begun.clear()
        assert begun.wait(10)
    source.back.set()
    reading.join(10)
    assert (found, told) == ([b"there"], [1])
    wait_for(lambda: reader.hanging_elsewhere == 0, "it to be noticed that the read has ended")
    reader.close(1)


def test_a_file_that_hangs_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder, port = write_dataset(tmp_path / "birds", {"a": 3}), free_port()
    words = ["benchmarks.delayed_server", "600", str(folder), "--port", str(port), "--read-timeout", "0.5"]
    root = Path(__file__).parent.parent
    server = subprocess.Popen([sys.executable, "-m", *words], cwd=root, stdout=subprocess.DEVNULL)
    try:
        with headrace.connect(f"http://127.0.0.1:{port}", wait=30) as client:
            data = client.dataset("birds", batch_size=3, transforms=[headrace.Resize((8, 8))])
            with pytest.raises(headrace.SampleFailed, match=r"a/0000\d\.png.*read_timeout"):
                list(data)
    finally:
        server.kill()
        server.wait(10)
