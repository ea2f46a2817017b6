"""Files read several in one call: those that are as they were indexed, and no others."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_server.errors import SampleError
from headrace_server.native.loading import loaded
from headrace_server.reading import FILE_RUN, Reader
from headrace_server.sources.folder import FolderSource, open_folder

pytestmark = pytest.mark.skipif(loaded() is None, reason="not compiled")

SIZES = (1, 0, 5, 4096, 300_000, 17, 1, 9)
VANISHED, GROWN, TOUCHED, A_FOLDER, A_PIPE = 1, 2, 3, 5, 6


def never(_: int) -> None:
    raise AssertionError("no read is late")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FolderSource:
    """Files, of which some are not as they were indexed any more."""
    root = tmp_path_factory.mktemp("files")
    paths = [root / f"{number}.jpg" for number in range(len(SIZES))]
    for number, (path, size) in enumerate(zip(paths, SIZES, strict=True)):
        path.write_bytes(bytes([65 + number]) * size)
    source = open_folder(root)
    paths[GROWN].write_bytes(b"more than it was")
    os.utime(paths[TOUCHED], ns=(0, 0))
    for changed in (VANISHED, A_FOLDER, A_PIPE):
        paths[changed].unlink()
    paths[A_FOLDER].mkdir()
    os.mkfifo(paths[A_PIPE])
    return source


@pytest.fixture
def reader() -> Iterator[Reader]:
    reader = Reader(2, 0)
    yield reader
    reader.close(1)


def read(source: FolderSource, sample: int) -> bytes | None:
    try:
        return source.read("all", sample)
    except SampleError:
        return None


@given(st.lists(st.sampled_from(range(len(SIZES))), max_size=20))
@settings(max_examples=100, deadline=None)
def test_it_is_what_is_read_one_by_one(source: FolderSource, samples: Sequence[int]) -> None:
    reader = Reader(2, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headrace_server.reading._TURN_SECONDS", 60.0)  # however busy the machine is
        found = reader.read_files(source.files("all", np.array(samples, np.intp)), never)
    assert found == [read(source, sample) for sample in samples]
    reader.close(1)


def test_what_was_made_to_fail_does(source: FolderSource) -> None:
    found = [read(source, sample) for sample in range(len(SIZES))]
    assert [number for number, data in enumerate(found) if data is None] == [VANISHED, GROWN, TOUCHED, A_FOLDER, A_PIPE]


@pytest.mark.parametrize(("patience", "count"), [(0.0, 1), (60.0, len(SIZES))])
def test_one_is_read_in_any_case_and_more_while_there_is_time(
    source: FolderSource, patience: float, count: int
) -> None:
    assert FILE_RUN is not None
    run = FILE_RUN(source.files("all", np.arange(len(SIZES))))
    assert len(run.read(patience)) == count
    assert run.at == count - 1


def test_a_path_with_a_zero_in_it_is_left(source: FolderSource, reader: Reader) -> None:
    (file,) = source.files("all", np.array([0]))
    assert reader.read_files([file, file._replace(path=b"a\0b")], never) == []
    assert reader.read_files([], never) == []


def test_a_run_counts_as_many_reads_for_what_is_known_of_the_storage(reader: Reader) -> None:
    watch = reader.watch
    watch.end(watch.begin(lambda: None, None), 1.0)
    once = watch.mean_seconds
    reader.watch.mean_seconds = 0.0
    watch.end(watch.begin(lambda: None, None), 20.0, files=20)
    assert once == pytest.approx(0.1, abs=0.001)
    assert watch.mean_seconds == pytest.approx(1 - 0.9**20)
    watch.end(watch.begin(lambda: None, None), 1.0, files=0)
    assert watch.mean_seconds == pytest.approx(1 - 0.9**20)
