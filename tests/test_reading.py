"""Reads that hang: they are told of, made up for, and become an error that names the sample."""

from __future__ import annotations

import sys
import threading
import weakref
from pathlib import Path

import pytest
from benchmarks.delayed_server import slow_environment
from harness import ServerProcess, wait_for, write_dataset

import headrace
from headrace_server.native.library import compiler
from headrace_server.read_watch import ReadWatch
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
    reader.watch.on_hanging.append(begun.set)
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


def test_what_a_read_that_hung_was_wanted_by_is_not_held() -> None:
    watch, told = ReadWatch(timeout=0.6), threading.Event()

    class Wanting:
        def late(self) -> None:
            told.set()

    wanting = Wanting()
    held = weakref.ref(wanting)
    read = watch.begin(wanting.late, None)
    assert told.wait(10)
    watch.end(read)
    del wanting, read
    wait_for(lambda: held() is None, "it to be dropped")
    watch.closing.set()


@pytest.mark.skipif(compiler() is None or sys.platform != "linux", reason="slow_files.c needs a compiler, and Linux")
@pytest.mark.parametrize("hanging", ["a/00000.png", "a/00002.png"])
def test_a_file_that_hangs_is_an_error_that_names_it(tmp_path: Path, hanging: str) -> None:
    """Also where it is one of several that are read in one call."""
    folder = write_dataset(tmp_path / "birds", {"a": 3})
    with (
        ServerProcess(folder, "--read-timeout", "0.5", env=slow_environment(600, folder / hanging)) as server,
        headrace.connect(server.url) as client,
    ):
        data = client.dataset("birds", batch_size=3, transforms=[headrace.Resize((8, 8))])
        with pytest.raises(headrace.SampleFailed, match=rf"{hanging}.*read_timeout"):
            list(data)
