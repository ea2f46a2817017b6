"""What a thread's work is charged at."""

from __future__ import annotations

import gc
import threading
import time

from headrace_server.worktime import work_seconds


def spin(seconds: float) -> None:
    """Work of this thread that takes so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_work_is_counted() -> None:
    began = work_seconds()
    spin(0.05)
    assert work_seconds() - began >= 0.05


def test_waiting_is_not() -> None:
    began = work_seconds()
    threading.Event().wait(0.2)
    assert work_seconds() - began < 0.1


def test_the_collector_is_not_in_whichever_thread_it_works() -> None:
    everybodys = [[i] for i in range(500_000)]
    seen: list[tuple[float, float]] = []

    def task() -> None:
        began, whole = work_seconds(), time.thread_time()
        for _ in range(5):
            gc.collect()
        seen.append((work_seconds() - began, time.thread_time() - whole))

    task()
    thread = threading.Thread(target=task)
    thread.start()
    thread.join()
    assert len(everybodys) == 500_000
    for work, whole in seen:
        assert work < whole / 5, seen
