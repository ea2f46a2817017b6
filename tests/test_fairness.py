"""Threads shared fairly between clients."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from harness import DEADLINE, wait_for
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_server.fairness import FairPool


@contextmanager
def pool_of(limit: int | Callable[[], int]) -> Iterator[FairPool]:
    pool = FairPool("test-fair", limit if callable(limit) else lambda: limit)
    try:
        yield pool
    finally:
        pool.close()


def spin(seconds: float) -> None:
    """Work that takes so long."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class Gate:
    """A task that holds its thread until it is opened."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.entered.set()
        assert self.opened.wait(DEADLINE)


class Work:
    """Tasks that note whose they are and how long they took."""

    def __init__(self) -> None:
        self.log: list[tuple[str, float]] = []

    def task(self, client: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            began = time.perf_counter()
            spin(seconds)
            self.log.append((client, time.perf_counter() - began))

        return run


@given(clients=st.lists(st.sampled_from("abc"), max_size=60), limit=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_every_task_runs_exactly_once(clients: list[str], limit: int) -> None:
    done: list[int] = []
    with pool_of(limit) as pool:
        for number, client in enumerate(clients):
            pool.submit(client, lambda number=number: done.append(number))  # type: ignore[misc]
        wait_for(lambda: len(done) == len(clients), "all tasks")
    assert sorted(done) == list(range(len(clients)))


def test_a_clients_tasks_run_in_the_order_in_which_they_came() -> None:
    done: list[int] = []
    with pool_of(1) as pool:
        for number in range(100):
            pool.submit("a", lambda number=number: done.append(number))  # type: ignore[misc]
        wait_for(lambda: len(done) == 100, "all tasks")
    assert done == list(range(100))


def test_of_a_clients_tasks_the_one_whose_turn_is_first_is_next_however_late_it_came() -> None:
    """A batch that a stream needs next must not wait behind those that were prepared before it."""
    done: list[int] = []
    gate = threading.Event()
    with pool_of(1) as pool:
        pool.submit("a", lambda: wait_for(gate.is_set, "the gate"))
        for turn in (3, 1, 2, 1, 0):
            pool.submit("a", lambda turn=turn: done.append(turn), turn)  # type: ignore[misc]
        gate.set()
        wait_for(lambda: len(done) == 5, "all tasks")
    assert done == [0, 1, 1, 2, 3]


def test_the_client_that_has_had_the_least_time_comes_first() -> None:
    """Clients with long and with short tasks get the same time, not the same number of tasks."""
    gate, work = Gate(), Work()
    with pool_of(1) as pool:
        pool.submit("gate", gate)
        assert gate.entered.wait(DEADLINE)
        for _ in range(8):
            pool.submit("long", work.task("long", 0.02))
        for _ in range(32):
            pool.submit("short", work.task("short", 0.005))
        gate.opened.set()
        wait_for(lambda: len(work.log) == 40, "all tasks")
    spent, longest = {"long": 0.0, "short": 0.0}, max(seconds for _, seconds in work.log)
    for client, seconds in work.log:
        if min(spent.values()) < 0.1:  # afterwards one of them may have nothing left
            assert abs(spent["long"] - spent["short"]) < 1.5 * longest + 0.005, work.log
        spent[client] += seconds


def test_a_newcomer_starts_level_and_has_no_time_saved_up() -> None:
    gate, work = Gate(), Work()
    with pool_of(1) as pool:
        for _ in range(5):
            pool.submit("old", work.task("old", 0.01))
        pool.submit("old", lambda: pool.submit("gate", gate))
        for _ in range(10):
            pool.submit("old", work.task("old", 0.01))
        assert gate.entered.wait(DEADLINE)
        before = len(work.log)
        for _ in range(8):
            pool.submit("new", work.task("new", 0.01))
        gate.opened.set()
        wait_for(lambda: len(work.log) == 23, "all tasks")
    assert before >= 5
    assert [client for client, _ in work.log[before : before + 6]].count("old") >= 2, work.log


def test_as_many_tasks_run_at_once_as_the_limit_says_and_no_more() -> None:
    together, lock, running, most, done = threading.Barrier(3), threading.Lock(), 0, 0, 0

    def task() -> None:
        nonlocal running, most, done
        with lock:
            running += 1
            most = max(most, running)
        together.wait(DEADLINE)
        with lock:
            running -= 1
            done += 1

    with pool_of(3) as pool:
        for number in range(12):
            pool.submit(f"client {number % 4}", task)
        wait_for(lambda: done == 12, "all tasks")
    assert most == 3


def test_a_limit_that_rises_lets_waiting_tasks_run() -> None:
    limit, together, done = 1, threading.Barrier(3), []

    def task() -> None:
        together.wait(DEADLINE)
        done.append(True)

    def raise_limit() -> None:
        nonlocal limit
        limit = 3

    with pool_of(lambda: limit) as pool:
        pool.submit("a", raise_limit)
        for _ in range(3):
            pool.submit("a", task)
        wait_for(lambda: len(done) == 3, "tasks that wait for each other")


def test_a_limit_that_falls_holds_for_the_threads_that_are_there() -> None:
    limit, together, lock, running, most, done = 3, threading.Barrier(3), threading.Lock(), 0, 0, 0

    def meet() -> None:
        together.wait(DEADLINE)

    def counted() -> None:
        nonlocal running, most, done
        with lock:
            running += 1
            most = max(most, running)
        spin(0.002)
        with lock:
            running -= 1
            done += 1

    with pool_of(lambda: limit) as pool:
        for _ in range(3):
            pool.submit("a", meet)
        wait_for(lambda: pool._idle == 3, "three idle threads")
        limit = 1
        for number in range(12):
            pool.submit(f"client {number}", counted)
        wait_for(lambda: done == 12, "all tasks")
    assert most == 1


def test_a_task_that_blocks_holds_up_no_other_while_threads_are_free() -> None:
    """Two tasks that come at once, when one thread is idle, need a second thread."""
    for _ in range(20):
        together, first, done = threading.Barrier(2), threading.Event(), threading.Semaphore(0)

        def task(together: threading.Barrier = together, done: threading.Semaphore = done) -> None:
            together.wait(DEADLINE)
            done.release()

        with pool_of(8) as pool:
            pool.submit("a", first.set)
            assert first.wait(DEADLINE)
            wait_for(lambda pool=pool: pool._idle == 1, "an idle thread")  # type: ignore[misc]
            pool.submit("a", task)
            pool.submit("b", task)
            assert done.acquire(timeout=5)
            assert done.acquire(timeout=5)


def test_a_task_that_raises_is_logged_and_its_thread_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    done = threading.Event()

    def fail() -> None:
        raise RuntimeError("on purpose")

    with pool_of(1) as pool:
        pool.submit("a", fail)
        pool.submit("a", done.set)
        assert done.wait(DEADLINE)
    captured = capsys.readouterr()
    assert "on purpose" in captured.out + captured.err


def test_where_the_system_gives_no_more_threads_those_that_are_there_do_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    first, done = threading.Event(), threading.Semaphore(0)
    with pool_of(3) as pool:
        pool.submit("a", first.set)
        assert first.wait(DEADLINE)
        monkeypatch.setattr(threading.Thread, "start", refuse)
        for _ in range(10):
            pool.submit("a", done.release)
        for _ in range(10):
            assert done.acquire(timeout=DEADLINE)
    with pool_of(3) as pool, pytest.raises(RuntimeError, match="new thread"):
        pool.submit("a", done.release)


def test_closing_ends_running_tasks_forgets_waiting_ones_and_leaves_no_thread() -> None:
    gate, ran = Gate(), []
    pool = FairPool("test-closing", lambda: 1)
    pool.submit("a", gate)
    pool.submit("a", lambda: ran.append("waiting"))
    assert gate.entered.wait(DEADLINE)
    closing = threading.Thread(target=pool.close)
    closing.start()
    wait_for(lambda: pool._closed, "the pool to know")
    gate.opened.set()
    closing.join(DEADLINE)
    assert not closing.is_alive()
    pool.submit("a", lambda: ran.append("late"))
    assert not ran
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("test-closing")]


def test_closing_does_not_wait_for_ever_for_a_task_that_hangs() -> None:
    gate = Gate()
    pool = FairPool("test-hanging", lambda: 1)
    pool.submit("a", gate)
    assert gate.entered.wait(DEADLINE)
    closing = threading.Thread(target=pool.close, args=(0.05,))
    closing.start()
    closing.join(DEADLINE)
    assert not closing.is_alive()
    gate.opened.set()
    wait_for(lambda: not [one for one in threading.enumerate() if one.name.startswith("test-hanging")], "its end")
