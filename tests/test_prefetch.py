"""The prefetcher: an iterator in a thread, some items ahead."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from harness import wait_for, wait_until_nothing_is_prefetched

from headrace.prefetch import Prefetcher


def nothing() -> None:
    pass


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("headrace")]


@pytest.fixture(autouse=True, scope="module")
def _others_threads_are_gone() -> None:
    wait_until_nothing_is_prefetched()


def test_items_come_in_order_and_then_the_end_again_and_again() -> None:
    with Prefetcher(iter(range(100)), 3, nothing) as items:
        assert list(items) == list(range(100))
        assert list(items) == []


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_no_more_items_are_made_than_may_lie_ready(depth: int) -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            yield number

    with Prefetcher(numbers(), depth, nothing) as items:
        for taken in range(1, 10):
            next(items)
            wait_for(lambda taken=taken: len(made) >= taken + depth, "the items ahead")  # type: ignore[misc]
            assert len(made) <= taken + depth + 1


def test_an_error_comes_in_its_place_after_the_items_before_it() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("gone")

    with Prefetcher(numbers(), 4, nothing) as items:
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(LookupError, match="gone"):
            next(items)
        with pytest.raises(StopIteration):
            next(items)


def test_closing_wakes_an_iterator_that_waits_and_ends_its_thread() -> None:
    woken, closed = threading.Event(), threading.Event()

    def waiting() -> Iterator[int]:
        try:
            yield 1
            woken.wait(30)
            yield 2
        finally:
            closed.set()

    items = Prefetcher(waiting(), 4, woken.set)
    assert next(items) == 1
    items.close()
    assert closed.is_set()
    assert threads() == []


def test_closing_ends_a_thread_that_waits_for_room() -> None:
    closed = threading.Event()

    def numbers() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.set()

    with Prefetcher(numbers(), 2, nothing) as items:
        next(items)
    assert closed.is_set()
    assert threads() == []
    with pytest.raises(StopIteration):
        next(items)


def test_a_thread_that_cannot_be_woken_keeps_nobody_waiting() -> None:
    release = threading.Event()

    def deaf() -> Iterator[int]:
        yield 1
        release.wait(30)

    items = Prefetcher(deaf(), 4, nothing)
    next(items)
    items.close()
    assert threads() == ["headrace-prefetch"]
    release.set()
    wait_for(lambda: threads() == [], "the thread to end")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_leaves_its_parents_iteration_alone() -> None:
    """At its exit a child must not end what is its parent's: the connection is the same."""
    script = """
import os, sys, warnings
from headrace.prefetch import Prefetcher
warnings.simplefilter("ignore", DeprecationWarning)
items = Prefetcher(iter(range(100)), 2, lambda: (print("interrupted in", "child" if child else "parent"),))
child = False
next(items)
pid = os.fork()
if pid == 0:
    child = True
    sys.exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print("child", status, "rest", len(list(items)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("child 0 rest 99\n", "")


def test_waiting_says_whether_something_is_there_yet() -> None:
    release = threading.Event()

    def late() -> Iterator[int]:
        release.wait(30)
        yield 1

    with Prefetcher(late(), 2, release.set) as items:
        assert not items.wait(0.01)
        release.set()
        assert items.wait(30)
        assert next(items) == 1
        assert items.wait(30)  # for the end
        assert list(items) == []
