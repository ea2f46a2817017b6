"""A run's samples: what becomes of those that fail, are replaced, are no longer wanted or come too slowly."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import DEADLINE
from jpegs import encoded, smooth
from numpy.typing import NDArray

from headrace_proto.transforms import ColorJitter, RandomFlip, RandomResizedCrop, Transform
from headrace_server import jpeg_runs
from headrace_server.address import Address
from headrace_server.assembly import assemble
from headrace_server.cache import ImageCache
from headrace_server.catalog import Catalog, open_dataset
from headrace_server.decode import Bounds, DecodeError
from headrace_server.errors import SampleFailed, SampleUndecodable, SampleVanished
from headrace_server.fairness import FairPool
from headrace_server.lending import Lending
from headrace_server.plans import PlanStore, ResolvedPlan
from headrace_server.reading import Reader
from headrace_server.run_maker import Run, RunMaker
from headrace_server.sample_reads import SampleReads
from headrace_server.samples import SampleMaker
from headrace_server.settings import DatasetSettings
from headrace_server.sources.folder import File
from headrace_server.transforms.base import TransformError
from headrace_server.transforms.custom import CustomTransforms
from headrace_server.transforms.pipeline import Pipeline
from headrace_server.workshop import Workshop

pytestmark = pytest.mark.skipif(jpeg_runs.NATIVE is None, reason="not compiled")

COUNT = 12
BOUNDS = Bounds(10**6, 10**6)


class Wanting:
    """Wants samples, for so many times that it is asked."""

    def __init__(self, times: int = 10**6) -> None:
        self._times = times

    @property
    def wanted(self) -> bool:
        self._times -= 1
        return self._times >= 0

    def take(self, found: Any, errors: Any) -> None:
        raise AssertionError("nothing is handed over")

    def give_up(self, row: int, error: Exception) -> None:
        raise AssertionError("nothing hangs")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "d").mkdir()
    for number in range(COUNT):
        (tmp_path / f"d/{number:02}.jpg").write_bytes(encoded(smooth(60 + number, 80, seed=number)))
    return tmp_path / "d"


@pytest.fixture
def shop() -> Iterator[Workshop]:
    shop = Workshop(Reader(4, 0), FairPool("test", lambda: 2), Lending(0), ImageCache(0), BOUNDS)
    yield shop
    shop.reader.close(10)
    shop.decoders.close(10)


def plan_of(folder: Path, on_error: str = "raise", later: Sequence[Transform] = (ColorJitter(0.3),)) -> ResolvedPlan:
    """`later` are steps that images of a run wait for; without any, all is done together."""
    settings = DatasetSettings(path=folder, on_error=on_error, replace_budget=1)  # type: ignore[arg-type]
    dataset = open_dataset("d", settings, CustomTransforms({}), lambda name, files: None)
    transforms = [transform.to_json() for transform in (RandomResizedCrop(32), RandomFlip(), *later)]
    return PlanStore(Catalog([dataset]), CustomTransforms({})).add({"dataset": "d", "transforms": transforms})


def run_maker(plan: ResolvedPlan, shop: Workshop) -> tuple[RunMaker, NDArray[Any]]:
    images, ids = np.zeros((COUNT, 32, 32, 3), np.uint8), np.arange(COUNT)
    reads = SampleReads(Address(plan, 0, 0, COUNT), ids, shop, "client", 0)
    return RunMaker(SampleMaker(plan, 0, BOUNDS, shop.cache), reads, images, COUNT), images


def expected(plan: ResolvedPlan) -> NDArray[Any]:
    images = np.zeros((COUNT, 32, 32, 3), np.uint8)
    maker = SampleMaker(plan, 0, BOUNDS, ImageCache(0))
    for sample in range(COUNT):
        data = plan.dataset.source.read(plan.info.split, sample)
        maker.make(sample, data, images[sample], lambda _: b"")
    return images


@pytest.mark.parametrize("later", [(), (ColorJitter(0.3),)])
@pytest.mark.parametrize("there", [set(), {*range(COUNT)}, {0, 3, 4, 11}])
def test_they_are_read_where_they_are_not_there(
    folder: Path, shop: Workshop, there: set[int], later: Sequence[Transform]
) -> None:
    plan = plan_of(folder, later=later)
    maker, images = run_maker(plan, shop)
    for row in there:
        maker.sources[row] = plan.dataset.source.read(plan.info.split, row)
    run = maker.make(range(COUNT), Wanting())
    assert run is not None
    assert (run.errors, run.replaced, run.unread) == ({}, {}, ())
    np.testing.assert_array_equal(images, expected(plan))
    assert maker.sources == [None] * COUNT  # nothing is held longer than it is needed


@pytest.mark.parametrize("later", [(), (ColorJitter(0.3),)])
def test_what_cannot_be_read_or_decoded_is_an_error_of_its_own(
    folder: Path, shop: Workshop, later: Sequence[Transform]
) -> None:
    (folder / "04.jpg").write_bytes(b"no picture at all")
    plan = plan_of(folder, later=later)
    (folder / "07.jpg").unlink()
    maker, images = run_maker(plan, shop)
    run = maker.make(range(COUNT), Wanting())
    assert run is not None
    assert {row: type(error) for row, error in run.errors.items()} == {4: SampleUndecodable, 7: SampleVanished}
    assert all(images[row].any() for row in range(COUNT) if row not in run.errors)


def test_files_are_held_neither_by_the_next_read_nor_by_an_error(
    folder: Path, shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the error's own, which its traceback has."""
    damaged = b"no picture at all"
    (folder / "02.jpg").write_bytes(damaged)
    plan, read_files = plan_of(folder, later=()), shop.reader.read_files
    files: list[bytes | None] = []
    held: list[int] = []

    def read(wanted: Sequence[File], late: Callable[[int], None]) -> list[bytes | None]:
        held.extend(map(sys.getrefcount, files))
        found = read_files(wanted[:4], late)
        files.extend(data for data in found if data != damaged)
        return found

    monkeypatch.setattr(shop.reader, "read_files", read)
    run = run_maker(plan, shop)[0].make(range(COUNT), Wanting())
    assert run is not None
    assert [*run.errors] == [2]
    held.extend(map(sys.getrefcount, files))
    alone = [*map(sys.getrefcount, [bytes(1000)])]
    assert len(files) == COUNT - 1
    assert {*held} == {*alone}


def test_what_cannot_be_decoded_may_be_replaced(folder: Path, shop: Workshop) -> None:
    (folder / "04.jpg").write_bytes(b"no picture at all")
    maker, images = run_maker(plan_of(folder, "replace"), shop)
    run = maker.make(range(COUNT), Wanting())
    assert run is not None
    assert [*run.replaced] == [4]
    assert images[4].any()


def test_where_a_replacement_cannot_be_noted_the_batch_fails(
    folder: Path, shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not hang."""

    def fail(*_: object) -> None:
        raise MemoryError("no memory to note it")

    (folder / "04.jpg").write_bytes(b"no picture at all")
    monkeypatch.setattr(shop.troubles, "note", fail)
    done = threading.Event()
    assembly = assemble(Address(plan_of(folder, "replace"), 0, 0, COUNT), shop, "client", done.set)
    assert done.wait(DEADLINE)
    assert assembly.failure is not None
    assert "no memory to note it" in assembly.failure.message


def test_a_later_step_may_fail(folder: Path, shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that says that it cannot, or as one for whose pixels another sample may stand."""
    finish = Pipeline.finish_cut

    def failing(self: Pipeline, image: Any, labels: Any, seed: int, epoch: int, sample: int, out: Any) -> None:
        if sample == 1:
            raise TransformError("it cannot be done")
        if sample == 2:
            raise DecodeError("too thin")
        finish(self, image, labels, seed, epoch, sample, out)

    monkeypatch.setattr(Pipeline, "finish_cut", failing)
    plan = plan_of(folder)
    maker, images = run_maker(plan, shop)
    run = maker.make(range(COUNT), Wanting())
    assert run is not None
    assert {row: type(error) for row, error in run.errors.items()} == {1: SampleFailed}
    wanted = expected(plan)
    np.testing.assert_array_equal(images[2:], wanted[2:])  # made in the ordinary way, which decides what is wrong


@pytest.mark.parametrize("times", [0, 1, 5])
def test_nothing_is_made_for_nobody(folder: Path, shop: Workshop, times: int) -> None:
    maker, images = run_maker(plan_of(folder), shop)
    assert maker.make(range(COUNT), Wanting(times)) is None
    assert sum(image.any() for image in images) == max(0, times - 1)


def test_storage_that_has_become_slow_is_left_to_others(folder: Path, shop: Workshop) -> None:
    plan = plan_of(folder)
    maker, images = run_maker(plan, shop)
    maker.sources[0] = plan.dataset.source.read(plan.info.split, 0)
    shop.reader.watch.mean_seconds = 1.0
    run = maker.make(range(COUNT), Wanting())
    assert run is not None
    assert [*run.unread] == [*range(1, COUNT)]
    assert images[0].any()
    assert not images[1:].any()


def test_where_there_is_no_memory_the_rest_of_the_run_fails(
    folder: Path, shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no memory")

    monkeypatch.setattr(shop.reader, "read_files", fail)
    maker, _ = run_maker(plan_of(folder), shop)
    run = maker.make(range(COUNT), Wanting())
    assert run is not None
    assert {row: type(error) for row, error in run.errors.items()} == dict.fromkeys(range(COUNT), MemoryError)


@pytest.mark.parametrize("library", [True, False])
def test_so_it_is_without_the_library(
    folder: Path, shop: Workshop, monkeypatch: pytest.MonkeyPatch, library: bool
) -> None:
    if not library:
        monkeypatch.setattr("headrace_server.run_maker.NATIVE", None)
        monkeypatch.setattr("headrace_server.reading.FILE_RUN", None)
    plan = plan_of(folder)
    maker, images = run_maker(plan, shop)
    assert maker.make(range(COUNT), Wanting()) == Run()
    np.testing.assert_array_equal(images, expected(plan))


def test_files_that_are_too_large_are_not_read(folder: Path, shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = sorted(path.stat().st_size for path in folder.iterdir())
    monkeypatch.setattr(type(shop.bounds), "file_bytes", sizes[COUNT // 2])
    maker, _ = run_maker(plan_of(folder), shop)
    run = maker.make(range(COUNT), Wanting())
    assert run is not None
    assert len(run.errors) == COUNT - COUNT // 2 - 1
    assert all("are read" in str(error) for error in run.errors.values())
