"""TensorFlow's from_generator, in the thread that asks: passes, ends, errors, and signals that come meanwhile."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own, while it is imported
    import tensorflow as tf

from headrace.adapters import generator
from headrace.adapters.direct import iterated_directly
from headrace.adapters.generator import Passes

SPECS = tf.TensorSpec((), tf.int64), tf.TensorSpec((None, 2), tf.float32)


class Generate:
    """Generates pairs of arrays, and notes which passes are open and which threads generated."""

    def __init__(self, length: int, end: Callable[[], None] = lambda: None, pauses: int = 0) -> None:
        """`pauses` is how often there is nothing yet, before every element and before the end."""
        self._length, self._end, self._pauses = length, end, pauses
        self.begun = 0
        self.running = 0
        self.threads: set[threading.Thread] = set()

    def __call__(self) -> Iterator[Any]:
        self.begun += 1
        self.running += 1
        try:
            for number in range(self._length):
                yield from [None] * self._pauses
                self.threads.add(threading.current_thread())
                yield np.array(number), np.full((number, 2), number, np.float32)
            yield from [None] * self._pauses
            self._end()
        finally:
            self.running -= 1


def through_tensorflow(generate: Generate) -> Any:
    return Passes(generate, SPECS).dataset()


def directly(generate: Generate) -> Any:
    passes = Passes(generate, SPECS)
    return iterated_directly(passes.dataset(), passes)


both_ways = pytest.mark.parametrize("make", [through_tensorflow, directly])


def numbers(dataset: Any) -> list[int]:
    return [int(number) for number, _ in dataset]


@both_ways
@pytest.mark.parametrize("pauses", [0, 2])
@pytest.mark.parametrize("length", [0, 1, 5])
def test_every_pass_has_a_generator_of_its_own(length: int, pauses: int, make: Any) -> None:
    generate = Generate(length, pauses=pauses)
    dataset = make(generate)
    gc.collect()
    assert dataset.element_spec == SPECS
    assert generate.begun == 0
    assert [numbers(dataset) for _ in range(3)] == [list(range(length))] * 3
    assert numbers(dataset.repeat(2)) == list(range(length)) * 2
    assert (generate.begun, generate.running) == (5, 0)


@both_ways
def test_the_elements_have_their_shapes_and_values(make: Any) -> None:
    for number, array in make(Generate(3)):
        assert array.shape == (number, 2)
        assert array.numpy().tolist() == [[int(number)] * 2] * int(number)


@both_ways
def test_the_generator_runs_in_the_thread_that_asks(make: Any) -> None:
    generate = Generate(3)
    numbers(make(generate))
    assert generate.threads == {threading.current_thread()}


@both_ways
def test_passes_at_the_same_time_do_not_meet(make: Any) -> None:
    generate = Generate(4)
    dataset = make(generate)
    assert [(int(a), int(b)) for (a, _), (b, _) in zip(dataset, dataset, strict=True)] == [(k, k) for k in range(4)]
    assert numbers(dataset.take(3).concatenate(dataset)) == [0, 1, 2, 0, 1, 2, 3]
    zipped = tf.data.Dataset.zip(dataset, dataset.skip(1))
    assert [(int(a), int(b)) for (a, _), (b, _) in zipped] == [(0, 1), (1, 2), (2, 3)]
    assert generate.running == 0


@both_ways
def test_a_pass_that_is_left_is_closed(make: Any) -> None:
    generate = Generate(4)
    for _ in make(generate):
        break
    gc.collect()
    assert (generate.begun, generate.running) == (1, 0)


@both_ways
@pytest.mark.parametrize("error", [KeyError, ValueError])
def test_an_error_ends_its_pass_and_no_other(error: type[Exception], make: Any) -> None:
    def fail() -> None:
        raise error("of the generator")

    generate = Generate(2, fail)
    dataset = make(generate)
    for _ in range(2):
        running = iter(dataset)
        assert [int(next(running)[0]) for _ in range(2)] == [0, 1]
        with pytest.raises(tf.errors.OpError, match=f"{error.__name__}: .*of the generator"):
            next(running)
        assert generate.running == 0
        with pytest.raises(StopIteration):
            next(running)


@both_ways
def test_it_works_in_functions_and_behind_further_steps(make: Any) -> None:
    @tf.function  # type: ignore[untyped-decorator]
    def total(dataset: Any) -> Any:
        return dataset.reduce(np.int64(0), lambda before, element: before + element[0])

    generate = Generate(5)
    dataset = make(generate)
    assert int(total(dataset)) == 10
    assert sorted(numbers(dataset.map(lambda *both: both, num_parallel_calls=2).shuffle(3))) == list(range(5))
    assert numbers(dataset.prefetch(2).filter(lambda number, _: number % 2 == 0)) == [0, 2, 4]
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    assert numbers(strategy.experimental_distribute_dataset(dataset)) == list(range(5))
    assert generate.running == 0


def test_a_function_of_the_users_in_the_same_place_is_interrupted_at_once() -> None:
    """TensorFlow makes an error of its own of it, as it always has."""
    over = threading.Event()

    def wait(number: Any) -> Any:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        assert over.wait(60), "it was not interrupted"
        return number

    numbers(through_tensorflow(Generate(1)))  # watches from now on
    users = tf.data.Dataset.range(1).flat_map(generator._repeated(wait, SPECS[:1]))
    with pytest.raises(tf.errors.UnknownError, match="KeyboardInterrupt"):
        next(iter(users.with_options(generator._options())))


SIGNALS = """
import itertools, os, random, signal, sys, threading, time
import numpy as np, tensorflow as tf
from headrace.adapters.direct import iterated_directly
from headrace.adapters.generator import Passes

def stop(*_):
    raise SystemExit("stopped")
signal.signal(signal.SIGTERM, stop)
random.seed(1)
wait = float(sys.argv[2])

def numbers():
    for number in itertools.count():
        yield np.array(number),
        end = time.monotonic() + wait
        while time.monotonic() < end:
            time.sleep(0.1)
            yield None

def press():
    time.sleep(random.uniform(0, 0.02))
    while True:
        os.kill(os.getpid(), int(sys.argv[1]))
        if over.wait(2):
            break  # TensorFlow loses a few signals, in its own __del__

sys.unraisablehook = lambda _: None
passes = Passes(numbers, (tf.TensorSpec((), tf.int64),))
dataset = passes.dataset()
if sys.argv[4:] == ["directly"]:
    dataset = iterated_directly(dataset, passes)
elif sys.argv[4:]:  # TensorFlow asks for more and more, and does not come back
    dataset = dataset.filter(lambda number: number < 3)
for _ in range(int(sys.argv[3])):
    over = threading.Event()
    pressing = threading.Thread(target=press)
    try:
        for number, in dataset:
            if number == 0 and not pressing.ident:
                pressing.start()
    except BaseException as error:
        over.set()
        kind = type(error).__name__
        del error
    pressing.join()
    assert sys.gettrace() is None
    print(kind)
"""


@pytest.mark.parametrize(
    ("number", "error", "wait", "times", "more"),
    [
        (signal.SIGINT, "KeyboardInterrupt", 0, 40, []),  # in the generator, in TensorFlow, or between the two
        (signal.SIGINT, "KeyboardInterrupt", 60, 5, []),
        (signal.SIGTERM, "SystemExit", 60, 5, []),
        (signal.SIGINT, "KeyboardInterrupt", 0, 5, ["filtered"]),
        (signal.SIGINT, "KeyboardInterrupt", 0, 40, ["directly"]),
        (signal.SIGTERM, "SystemExit", 60, 5, ["directly"]),
    ],
)
def test_what_a_signal_raises_comes_as_it_is(number: int, error: str, wait: float, times: int, more: list[str]) -> None:
    words = [sys.executable, "-c", SIGNALS, str(int(number)), str(wait), str(times), *more]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.split() == [error] * times, done.stderr
