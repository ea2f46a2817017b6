"""Having a batch's samples read: by whom, and what becomes of the batch where that cannot be."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from harness import DEADLINE, wait_for, write_dataset

from headrace_server.address import Address
from headrace_server.assembly import Assembly, assemble
from headrace_server.cache import ImageCache
from headrace_server.catalog import Catalog, open_dataset
from headrace_server.decode import Bounds
from headrace_server.fairness import FairPool
from headrace_server.lending import Lending
from headrace_server.native.loading import loaded
from headrace_server.plans import PlanStore, ResolvedPlan
from headrace_server.read_watch import nobody
from headrace_server.reading import Reader
from headrace_server.settings import DatasetSettings
from headrace_server.transforms.custom import CustomTransforms
from headrace_server.workshop import Workshop

SAMPLES = 12
needs_library = pytest.mark.skipif(loaded() is None, reason="not compiled")


@pytest.fixture
def plan(tmp_path: Path) -> ResolvedPlan:
    root = write_dataset(tmp_path / "d", {"a": SAMPLES})
    dataset = open_dataset(
        "d",
        DatasetSettings(path=root, on_error="raise", replace_budget=0),
        CustomTransforms({}),
        lambda name, files: None,
    )
    fields = {"dataset": "d", "transforms": [{"name": "Resize", "size": [8, 8]}]}
    return PlanStore(Catalog([dataset]), CustomTransforms({})).add(fields)


@pytest.fixture
def shop() -> Iterator[Workshop]:
    shop = Workshop(Reader(4, 0), FairPool("test", lambda: 2), Lending(0), ImageCache(0), Bounds(10**6, 10**6))
    yield shop
    shop.reader.close(10)
    shop.decoders.close(10)


def refuse(*_: object) -> None:
    raise RuntimeError("can't start new thread")


def made(plan: ResolvedPlan, shop: Workshop) -> Assembly:
    done = threading.Event()
    assembly = assemble(Address(plan, 0, 0, SAMPLES), shop, "client", done.set)
    assert done.wait(DEADLINE)
    return assembly


@needs_library
def test_slow_files_are_read_by_none_of_pythons_threads(
    plan: ResolvedPlan, shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = made(plan, shop)
    shop.reader.watch.mean_seconds = 1.0
    monkeypatch.setattr(shop.reader, "read", refuse)
    slow = made(plan, shop)
    assert slow.frame is not None
    assert quick.frame is not None
    assert [bytes(part) for part in slow.frame.parts()] == [bytes(part) for part in quick.frame.parts()]


def test_while_a_read_hangs_quick_storage_is_read_as_before(plan: ResolvedPlan, shop: Workshop) -> None:
    shop.reader.watch.begin(nobody, None)
    wait_for(lambda: shop.reader.watch.hanging == 1, "it to hang")
    assert not shop.reader.quick
    assert shop.reader.files is None
    assert made(plan, shop).frame is not None


@pytest.mark.parametrize("mean_seconds", [0.0001, 0.005, 1.0])
def test_a_batch_that_cannot_be_handed_to_a_decoder_fails(
    plan: ResolvedPlan, shop: Workshop, monkeypatch: pytest.MonkeyPatch, mean_seconds: float
) -> None:
    shop.reader.watch.mean_seconds = mean_seconds
    monkeypatch.setattr(shop.decoders, "submit", refuse)
    failure = made(plan, shop).failure
    assert failure is not None
    assert "can't start new thread" in failure.message
    assert failure.retry


@needs_library
def test_a_batch_that_cannot_be_handed_to_a_reader_fails(
    plan: ResolvedPlan, shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is to be read again, since it has vanished."""
    root = plan.dataset.source.root  # type: ignore[attr-defined]
    (Path(root.decode()) / "a/00003.png").unlink()
    shop.reader.watch.mean_seconds = 1.0
    submit = shop.reader.submit

    def refuse_reads(client: str, task: partial[None], turn: int) -> None:
        if isinstance(task, partial):
            refuse()
        submit(client, task, turn)

    monkeypatch.setattr(shop.reader, "submit", refuse_reads)
    failure = made(plan, shop).failure
    assert failure is not None
    assert "can't start new thread" in failure.message


@pytest.mark.parametrize("mean_seconds", [0.0001, 0.005, 1.0])
def test_a_batch_that_is_made_is_held_by_no_thread(plan: ResolvedPlan, shop: Workshop, mean_seconds: float) -> None:
    """Its memory can be used again only then."""
    shop.reader.watch.mean_seconds = mean_seconds
    assembly = made(plan, shop)
    shop.lending.release(assembly)
    held = weakref.ref(assembly)
    gc.disable()  # it is to go by itself
    try:
        del assembly
        wait_for(lambda: held() is None, "the batch to be dropped")
    finally:
        gc.enable()
