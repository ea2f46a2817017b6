"""Files read by the compiled library's threads: whole or not at all, once each, and only while they are wanted."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from benchmarks.delayed_server import slow_environment
from harness import Api, ServerProcess, slice_path, wait_for, write_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_server.file_reads import FileRead, FileReads
from headrace_server.native import read_threads
from headrace_server.native.loading import loaded
from headrace_server.read_watch import ReadWatch
from headrace_server.sources.folder import File

pytestmark = [
    pytest.mark.skipif(loaded() is None, reason="not compiled"),
    pytest.mark.skipif(sys.platform != "linux", reason="slow_files.c is for Linux"),
]


@contextmanager
def files_read(limit: int = 4) -> Iterator[FileReads]:
    threads, watch = read_threads(), ReadWatch(60.0)
    assert threads is not None
    files = FileReads(threads, watch, lambda: limit)
    try:
        yield files
    finally:
        files.close()
        watch.closing.set()


def yes() -> bool:
    return True


def never() -> None:
    raise AssertionError("no read is late")


def as_it_is(path: Path) -> File:
    status = path.stat()
    return File(os.fsencode(path), status.st_size, status.st_mtime_ns)


def outcomes(files: FileReads, *asked: File) -> list[bytes | None]:
    """What becomes of each."""
    found: dict[int, bytes | None] = {}
    reads = [FileRead(file, row, yes, never, found.update) for row, file in enumerate(asked)]
    files.submit("client", reads)
    wait_for(lambda: len(found) == len(asked), "all to be read")
    return [found[number] for number in range(len(asked))]


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(0, 300_000), max_size=40), limit=st.integers(1, 20))
def test_files_come_as_they_are(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], limit: int) -> None:
    folder = tmp_path_factory.mktemp("files")
    contents = [os.urandom(size) for size in sizes]
    paths = [folder / str(number) for number in range(len(sizes))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    with files_read(limit) as files:
        assert outcomes(files, *map(as_it_is, paths)) == contents


def test_what_is_not_as_it_was_indexed_is_not_given(tmp_path: Path) -> None:
    file, pipe = tmp_path / "file", tmp_path / "pipe"
    file.write_bytes(b"content")
    os.mkfifo(pipe)
    there = as_it_is(file)
    wrong = [
        there._replace(size=there.size + 1),
        there._replace(size=there.size - 1),
        there._replace(mtime_ns=there.mtime_ns + 1),
        there._replace(path=there.path + b"x"),
        there._replace(path=there.path + b"\0x"),
        there._replace(size=-1),
        File(os.fsencode(tmp_path), 0, 0),
        as_it_is(pipe)._replace(size=1),
    ]
    with files_read() as files:
        assert outcomes(files, *wrong, there) == [None] * len(wrong) + [b"content"]


def test_many_threads_ask_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    file = as_it_is(tmp_path / "file")
    found: list[dict[int, bytes | None]] = [{} for _ in range(8)]

    def ask(number: int) -> None:
        for first in range(0, 250, 5):
            reads = [FileRead(file, row, yes, never, found[number].update) for row in range(first, first + 5)]
            files.submit(f"client {number}", reads)

    with files_read() as files:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        wait_for(lambda: all(len(each) == 250 for each in found), "all to be read")
        for thread in threads:
            thread.join()
    assert found == [dict.fromkeys(range(250), b"content")] * 8


def test_what_nobody_wants_any_more_is_not_read_and_what_fails_to_be_taken_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    file, found = as_it_is(tmp_path / "file"), []

    def fail(_: dict[int, bytes | None]) -> None:
        raise RuntimeError("a fault of the server's")

    with files_read(limit=1) as files:
        unwanted = FileRead(file, 0, lambda: False, never, found.append)
        files.submit("client", [unwanted, FileRead(file, 1, yes, never, fail)])
        files.submit("client", [FileRead(file, 2, yes, never, found.append)], turn=1)
        wait_for(lambda: found, "the last to be read")
    assert found == [{2: b"content"}]


def test_after_the_end_nothing_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    found: dict[int, bytes | None] = {}
    with files_read() as files:
        pass
    files.submit("client", [FileRead(as_it_is(tmp_path / "file"), 0, yes, never, found.update)])
    files.close()
    assert not found


HANGING = """
import os, sys, threading, time
from headrace_server.file_reads import FileRead, FileReads
from headrace_server.native import read_threads
from headrace_server.read_watch import ReadWatch
from headrace_server.sources.folder import File

watch, late, done = ReadWatch(0.5), [], []
files = FileReads(read_threads(), watch, lambda: 2 + watch.hanging)
watch.on_hanging.append(files.nudge)
for number, path in enumerate(sys.argv[1:]):
    file = File(os.fsencode(path), os.path.getsize(path), os.stat(path).st_mtime_ns)
    files.submit("client", [FileRead(file, number, lambda: True, lambda n=number: late.append(n), done.extend)])
while not (len(late) == 2 and len(done) == len(sys.argv) - 3):
    time.sleep(0.01)
print(sorted(late), sorted(done), watch.hanging_threads)
if sys.argv[1].endswith("closed"):
    files.close()
"""


@pytest.mark.parametrize("end", ["closed", "left"])
def test_reads_that_hang_are_late_and_made_up_for_and_keep_no_process_from_its_end(tmp_path: Path, end: str) -> None:
    paths = [tmp_path / f"hanging {number} {end}" for number in range(2)] + [tmp_path / f"{n}" for n in range(4)]
    for path in paths:
        path.write_bytes(b"content")
    slow = slow_environment(600, tmp_path / "hanging")
    command = [sys.executable, "-c", HANGING, *map(str, paths)]
    found = subprocess.run(command, env={**os.environ, **slow}, capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.split("\n")[0] == "[0, 1] [2, 3, 4, 5] set()"


def test_a_read_under_way_that_is_late_is_told_of_and_holds_up_no_thread_of_the_decoders() -> None:
    late, watch = threading.Event(), ReadWatch(timeout=0.6)
    read = watch.begin(late.set, None)
    assert late.wait(30)
    assert not watch.quick
    assert not watch.hanging_threads
    watch.end(read)
    watch.closing.set()


def test_batches_are_the_same_however_long_a_read_takes(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "birds", {"a": 70, "b": 30})
    (folder / "a/00007.png").write_bytes(b"no picture at all")
    (folder / "b/00003.png").write_bytes(bytes(2_000_000))
    options = (folder, "--on-error", "replace", "--replace-budget", "1", "--max-file-mb", "1")
    transforms = [{"name": "Resize", "size": [8, 8]}, {"name": "RandomFlip"}]
    found = []
    for environment in ({}, slow_environment(0.02, folder)):
        with ServerProcess(*options, env=environment) as server, Api(server) as api:
            plan = api.plan("birds", shuffle=True, transforms=transforms)
            asked = [(epoch, count) for epoch in (0, 1) for count in (1, 7, 100)]
            found.append([api.frames(plan, epoch=epoch, count=count, stride=count) for epoch, count in asked])
    assert found[0] == found[1]


def test_files_that_changed_or_went_away_are_errors_that_name_them(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "birds", {"a": 40})
    changed, gone = folder / "a/00011.png", folder / "a/00023.png"
    options = (folder, "--read-retries", "0")
    with ServerProcess(*options, env=slow_environment(0.02, folder)) as server, Api(server) as api:
        plan = api.plan("birds", transforms=[{"name": "Resize", "size": [8, 8]}])
        api.frames(plan, count=10, stride=10)  # the server learns how slow its storage is
        os.utime(changed, (1, 1))
        gone.unlink()
        for start, stop, path in ((0, 20, changed), (20, 40, gone)):
            answer = api.get(slice_path(plan, start, stop))
            assert (answer.status_code, answer.json()["code"]) == (503, "sample-unavailable"), answer.text
            assert answer.json()["key"] == f"a/{path.name}"
