"""Streams of the same plan share what is made: once, right, and only while somebody wants it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
from harness import wait_for, write_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_server.address import Address
from headrace_server.assembly import Assembly, assemble
from headrace_server.cache import CacheKey, ImageCache
from headrace_server.catalog import Catalog, open_dataset
from headrace_server.decode import Bounds
from headrace_server.fairness import FairPool
from headrace_server.lending import Lending
from headrace_server.plans import PlanStore, ResolvedPlan
from headrace_server.reading import Reader
from headrace_server.settings import DatasetSettings
from headrace_server.transforms.custom import CustomTransforms
from headrace_server.workshop import Workshop

SAMPLES = 40
PLAN = {
    "dataset": "d",
    "shuffle": True,
    "transforms": [{"name": "Resize", "size": 20}, {"name": "RandomCrop", "size": 16}, {"name": "RandomFlip"}],
}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> ResolvedPlan:
    root = write_dataset(tmp_path_factory.mktemp("lending") / "d", {"a": 30, "b": SAMPLES - 30})
    (root / "a" / "00003.png").write_bytes(b"no picture at all")
    options = DatasetSettings(path=root, transforms=PLAN["transforms"], on_error="replace", replace_budget=1)
    dataset = open_dataset("d", options, CustomTransforms({}), lambda name, files: None)
    return PlanStore(Catalog([dataset]), CustomTransforms({})).add(PLAN)


def workshop(share: int = 2**30, cache: int = 0) -> Workshop:
    return Workshop(Reader(4, 0), FairPool("test", lambda: 2), Lending(share), ImageCache(cache), Bounds(10**6, 10**6))


@pytest.fixture
def shop() -> Iterator[Workshop]:
    shop = workshop()
    yield shop
    close(shop)


def close(shop: Workshop) -> None:
    shop.reader.close(10)
    shop.decoders.close(10)


def made(shop: Workshop, *addresses: Address) -> list[Assembly]:
    """The batches at these addresses, all begun at once, when all are done; released."""
    done = threading.Semaphore(0)
    assemblies = [assemble(address, shop, "client", done.release) for address in addresses]
    wait_for(lambda: all(assembly.done for assembly in assemblies), "the batches")
    for assembly in assemblies:
        shop.lending.release(assembly)
    return assemblies


def payload(assembly: Assembly) -> bytes:
    assert assembly.frame is not None
    return b"".join(assembly.frame.payload)


def alone(address: Address) -> Assembly:
    """The batch as a workshop makes it that has nothing to lend."""
    shop = workshop(share=0)
    (assembly,) = made(shop, address)
    close(shop)
    return assembly


def test_streams_that_want_the_same_batch_get_the_same_one(plan: ResolvedPlan, shop: Workshop) -> None:
    first, second = made(shop, Address(plan, 0, 0, 8), Address(plan, 0, 0, 8))
    assert first is second
    assert shop.counts.made == 8


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, SAMPLES - 1), st.integers(1, 20)), min_size=2, max_size=5))
def test_batches_of_any_sizes_share_samples_and_stay_what_they_are(
    plan: ResolvedPlan, slices: list[tuple[int, int]]
) -> None:
    shop = workshop()
    shop.lending.join((plan.info.id, 1))
    addresses = [Address(plan, 1, start, min(start + count, SAMPLES)) for start, count in slices]
    for assembly, address in zip(made(shop, *addresses), addresses, strict=True):
        other = alone(address)
        assert payload(assembly) == payload(other)
        assert assembly.frame is not None
        assert other.frame is not None
        assert assembly.frame.head == other.frame.head
    close(shop)
    assert shop.counts.made == len({p for address in addresses for p in range(address.start, address.stop)})


def test_another_epoch_shares_nothing(plan: ResolvedPlan, shop: Workshop) -> None:
    made(shop, Address(plan, 0, 0, 8), Address(plan, 1, 0, 8))
    assert shop.counts.made == 16


def test_what_was_made_is_kept_only_while_a_stream_of_its_epoch_is_open(plan: ResolvedPlan, shop: Workshop) -> None:
    key = (plan.info.id, 0)
    shop.lending.join(key)
    made(shop, Address(plan, 0, 0, 8))
    made(shop, Address(plan, 0, 0, 8))
    assert shop.counts.made == 8
    shop.lending.leave(key)
    made(shop, Address(plan, 0, 0, 8))
    assert shop.counts.made == 16


def test_a_bound_of_nothing_keeps_nothing(plan: ResolvedPlan) -> None:
    shop = workshop(share=0)
    shop.lending.join((plan.info.id, 0))
    made(shop, Address(plan, 0, 0, 8))
    made(shop, Address(plan, 0, 4, 12))
    close(shop)
    assert shop.counts.made == 16


def test_a_batch_that_nobody_wants_any_more_is_dropped(plan: ResolvedPlan, shop: Workshop) -> None:
    blocked = threading.Event()
    for _ in range(2):
        shop.decoders.submit("another", partial(blocked.wait, 20))
    assembly = assemble(Address(plan, 0, 0, 8), shop, "client", lambda: None)
    shop.lending.release(assembly)
    assert not assembly.lend(0, lambda: None)
    blocked.set()
    made(shop, Address(plan, 0, 8, 16))
    assert not assembly.done


def test_a_batch_is_made_to_its_end_for_another_that_waits_for_a_sample_of_it(
    plan: ResolvedPlan, shop: Workshop
) -> None:
    blocked, borrowed = threading.Event(), threading.Event()
    for _ in range(2):
        shop.decoders.submit("another", partial(blocked.wait, 20))
    assembly = assemble(Address(plan, 0, 0, 8), shop, "client", lambda: None)
    assert assembly.lend(0, borrowed.set)
    shop.lending.release(assembly)
    blocked.set()
    assert borrowed.wait(20)


def test_later_epochs_take_images_from_the_cache_and_stay_what_they_are(plan: ResolvedPlan) -> None:
    shop = workshop(cache=2**24)
    made(shop, Address(plan, 0, 0, SAMPLES))
    reads: list[int] = []
    read = shop.reader.read
    shop.reader.read = lambda source, split, sample, late: reads.append(sample) or read(source, split, sample, late)  # type: ignore[method-assign]
    (later,) = made(shop, Address(plan, 1, 0, SAMPLES))
    close(shop)
    assert payload(later) == payload(alone(Address(plan, 1, 0, SAMPLES)))
    assert len(reads) <= 2, "only the damaged image, and what is drawn in its place"


def test_the_cache_keeps_its_bound_and_what_was_used_last() -> None:
    cache = ImageCache(3 * 12)
    keys = [CacheKey("d", "all", "[]", sample) for sample in range(5)]
    for key in keys[:3]:
        cache.put(key, np.full((2, 2, 3), key.sample, np.uint8))
    assert cache.get(keys[0]) is not None
    cache.put(keys[3], np.zeros((2, 2, 3), np.uint8))
    assert [cache.get(key) is not None for key in keys] == [True, False, True, True, False]
    assert cache.used_bytes == 36


def test_an_image_larger_than_the_cache_is_not_kept() -> None:
    cache = ImageCache(11)
    key = CacheKey("d", "all", "[]", 0)
    cache.put(key, np.zeros((2, 2, 3), np.uint8))
    assert cache.get(key) is None
