"""Loops in Python over a dataset of TensorFlow's: past its pipeline, and back into it wherever that is asked for."""

from __future__ import annotations

import gc
import os
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own, while it is imported
    import tensorflow as tf
    from tensorflow.python.ops import script_ops

from headrace.adapters import direct
from headrace.adapters.direct import iterated_directly
from headrace.adapters.generator import Passes
from headrace_proto.buffers import BufferPool

LENGTH = 6
SPECS = (tf.TensorSpec((4,), tf.int64), tf.TensorSpec((), tf.bool))


class Generate:
    """Generates arrays of a number and whether it is even; counts the passes that are open."""

    def __init__(self, columns: int = 2) -> None:
        self._columns = columns
        self.begun = self.running = 0

    def __call__(self) -> Iterator[Any]:
        self.begun += 1
        self.running += 1
        try:
            for number in range(LENGTH):
                yield (np.full(4, number), np.array(number % 2 == 0))[: self._columns]
        finally:
            self.running -= 1


@pytest.fixture
def generate() -> Generate:
    return Generate()


def directly(generate: Any, specs: Any) -> Any:
    passes = Passes(generate, specs)
    return iterated_directly(passes.dataset(), passes)


@pytest.fixture
def dataset(generate: Generate) -> Any:
    return directly(generate, SPECS)


def number(element: Any) -> int:
    return int(element[0][0])


@tf.function  # type: ignore[untyped-decorator]
def next_in_a_function(iterator: Any) -> Any:
    return next(iterator)


def concrete_next_of(iterator: Any) -> Any:
    return tf.function(lambda: next(iterator)).get_concrete_function()


@tf.function  # type: ignore[untyped-decorator]
def sum_in_a_function(elements: Any) -> Any:
    total = np.int64(0)
    for numbers, _ in elements:
        total += numbers[0]
    return total


def test_a_loop_in_python_does_not_go_through_tensorflow(dataset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    owned = type(iter(tf.data.Dataset.range(0)))
    monkeypatch.setattr(owned, "__next__", lambda _: pytest.fail("it went through TensorFlow"))
    assert [number(element) for element in dataset] == list(range(LENGTH))


def test_it_is_a_dataset_and_its_iterator_one_of_tensorflows(dataset: Any) -> None:
    assert isinstance(dataset, tf.data.Dataset)
    assert isinstance(iter(dataset), tf.data.Iterator)
    assert iter(dataset).element_spec == dataset.element_spec == SPECS
    assert str(dataset) == str(Passes(Generate(), SPECS).dataset())


@pytest.mark.parametrize("before", [0, 1, LENGTH - 1, LENGTH])
def test_an_iterator_that_was_begun_in_python_goes_on_in_a_function(
    dataset: Any, generate: Generate, before: int
) -> None:
    iterator = iter(dataset)
    assert [number(next(iterator)) for _ in range(before)] == list(range(before))
    for following in range(before, LENGTH):
        assert number(next_in_a_function(iterator)) == following
    with pytest.raises((StopIteration, tf.errors.OutOfRangeError)):
        next_in_a_function(iterator)
    assert generate.begun == 1
    assert generate.running == 0


def test_an_iterator_that_was_begun_in_a_function_goes_on_in_python(dataset: Any, generate: Generate) -> None:
    iterator = iter(dataset)
    assert number(next_in_a_function(iterator)) == 0
    assert [number(element) for element in iterator] == list(range(1, LENGTH))
    assert generate.begun == 1


def test_functions_take_the_dataset_what_is_left_of_an_iterator_and_one_from_outside(dataset: Any) -> None:
    assert int(sum_in_a_function(dataset)) == sum(range(LENGTH))
    iterator = iter(dataset)
    next(iterator)
    next(iterator)

    @tf.function  # type: ignore[untyped-decorator]
    def next_from_outside() -> Any:
        return next(iterator)

    assert number(next_from_outside()) == 2
    assert int(sum_in_a_function(iterator)) == sum(range(3, LENGTH))


def test_optional_elements_are_those_that_are_left(dataset: Any) -> None:
    iterator = iter(dataset)
    next(iterator)
    assert number(iterator.get_next_as_optional().get_value()) == 1
    assert [number(element) for element in iterator] == list(range(2, LENGTH))
    assert not iterator.get_next_as_optional().has_value()


def test_get_next_ends_as_tensorflows_does(dataset: Any) -> None:
    iterator = iter(dataset)
    assert [number(iterator.get_next()) for _ in range(LENGTH)] == list(range(LENGTH))
    with pytest.raises(tf.errors.OutOfRangeError):
        iterator.get_next()


def test_what_is_made_of_it_and_functions_that_run_eagerly_see_all_of_it(dataset: Any) -> None:
    assert [number(element) for element in dataset.prefetch(2)] == list(range(LENGTH))
    assert [int(numbers[0]) for numbers, _ in dataset.as_numpy_iterator()] == list(range(LENGTH))
    assert [number(element) for element in dataset.take(2).concatenate(dataset.skip(4))] == [0, 1, 4, 5]
    tf.config.run_functions_eagerly(True)
    try:
        assert number(next_in_a_function(iter(dataset))) == 0
    finally:
        tf.config.run_functions_eagerly(False)


def test_a_single_column_comes_as_a_tensor() -> None:
    dataset = directly(Generate(columns=1), SPECS[0])
    assert [tensor.numpy().tolist() for tensor in dataset] == [[k] * 4 for k in range(LENGTH)]
    iterator = iter(dataset)
    next(iterator)
    assert next_in_a_function(iterator).numpy().tolist() == [1] * 4


def test_an_iterator_that_is_dropped_closes_its_pass(dataset: Any, generate: Generate) -> None:
    for _ in dataset:
        break
    assert (generate.begun, generate.running) == (1, 0)
    iterator = iter(dataset)
    next(iterator)
    next_in_a_function(iterator)
    assert generate.running == 1
    del iterator
    gc.collect()
    assert (generate.begun, generate.running) == (2, 0)


def test_a_pass_that_a_function_has_taken_lives_as_long_as_anyone_can_ask_for_it(
    dataset: Any, generate: Generate
) -> None:
    iterator = iter(dataset)
    next(iterator)
    tf.nest.flatten(iterator, expand_composites=True)  # takes it, and never asks
    assert generate.running == 1
    del iterator
    gc.collect()
    assert generate.running == 0
    iterator = iter(dataset)
    next(iterator)
    function = concrete_next_of(iterator)
    del iterator
    gc.collect()
    assert [number(function()) for _ in range(2)] == [1, 2]
    assert generate.running == 1
    del function
    gc.collect()
    assert (generate.begun, generate.running) == (2, 0)


def test_passes_taken_by_functions_leave_nothing_in_tensorflow(dataset: Any) -> None:
    def take() -> None:
        iterator = iter(dataset)
        next(iterator)
        next_in_a_function(iterator)

    take()
    before = len(script_ops._py_funcs._funcs)
    for _ in range(3):
        take()
    assert len(script_ops._py_funcs._funcs) == before


def test_a_pass_goes_on_though_threads_and_a_function_take_it_at_once() -> None:
    generate, inside, going_on = Generate(), threading.Event(), threading.Event()

    def stopping() -> Iterator[Any]:
        for arrays in generate():
            yield arrays
            inside.set()
            assert going_on.wait(60)

    iterator = iter(directly(stopping, SPECS))
    numbers = [number(next(iterator))]
    asked = [next, next_in_a_function, next, next]
    with ThreadPoolExecutor(len(asked)) as pool:
        waiting = [pool.submit(ask, iterator) for ask in asked]
        assert inside.wait(60)
        going_on.set()
        numbers += [number(element.result(60)) for element in waiting]
    assert sorted(numbers) == list(range(5))
    assert generate.begun == 1


def test_threads_share_an_iterator(dataset: Any) -> None:
    iterator, together = iter(dataset), threading.Barrier(LENGTH)

    def one(_: int) -> int:
        together.wait(10)
        return number(next(iterator))

    with ThreadPoolExecutor(LENGTH) as pool:
        assert sorted(pool.map(one, range(LENGTH))) == list(range(LENGTH))


@pytest.mark.parametrize("error", [ValueError, UnicodeError, TypeError, MemoryError, NotImplementedError, KeyError])
def test_an_error_says_what_happened_and_where_as_tensorflow_does(error: type[Exception]) -> None:
    def fail() -> Iterator[Any]:
        yield from Generate()()
        raise error("of the generator")

    kinds = []
    for dataset in (directly(fail, SPECS), Passes(fail, SPECS).dataset()):
        iterator = iter(dataset)
        for _ in range(LENGTH):
            next(iterator)
        with pytest.raises(tf.errors.OpError, match=f"{error.__name__}: .*of the generator") as caught:
            next(iterator)
        kinds.append(caught.type)
        with pytest.raises(StopIteration):
            next(iterator)
    assert kinds == [kinds[0]] * 2


def test_an_error_keeps_its_cause() -> None:
    def fail() -> Iterator[Any]:
        raise KeyError("of the generator")
        yield

    with pytest.raises(tf.errors.UnknownError) as caught:
        next(iter(directly(fail, SPECS)))
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_interrupted_pass_does_not_look_like_a_finished_one() -> None:
    def interrupted() -> Iterator[Any]:
        yield next(Generate()())
        raise KeyboardInterrupt

    dataset = directly(interrupted, SPECS)
    iterator = iter(dataset)
    next(iterator)
    with pytest.raises(KeyboardInterrupt):
        next(iterator)
    for ask in (next, next_in_a_function, next):
        with pytest.raises(tf.errors.AbortedError, match=r"KeyboardInterrupt has ended this pass .* begins a new one"):
            ask(iterator)
    assert number(next(iter(dataset))) == 0


def test_a_tensorflow_with_another_name_for_its_iterators_is_asked_itself(
    dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "_RESOURCE", "_named_otherwise")
    monkeypatch.delattr(direct._DirectIterator, "_iterator_resource")
    monkeypatch.delattr(direct._DirectIterator, "_next_tensors")
    assert [number(element) for element in dataset] == list(range(LENGTH))


def test_arrays_become_tensors_that_share_and_hold_their_memory() -> None:
    pool = BufferPool()
    buffer = pool.get(64 * 64)
    buffer[:] = 7
    tensor = direct._tensor(buffer)
    assert np.asarray(memoryview(tensor)).ctypes.data == buffer.ctypes.data, "it was copied, so this shows nothing"
    del buffer
    for _ in range(5):
        pool.get(64 * 64)[:] = 1
    assert bool(tf.reduce_all(tensor == 7))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float16", "float32", "float64", "bool", "str"])
def test_arrays_of_every_kind_keep_their_values(dtype: str) -> None:
    values = (np.arange(300) % 2).astype(dtype)
    frozen = values.copy()
    frozen.flags.writeable = False
    swapped = values.astype(values.dtype.newbyteorder())
    for array in (
        values,
        values[1:],
        values[::2],
        values.reshape(20, 15).T,
        values[:0],
        values[0, ...],
        frozen,
        swapped,
    ):
        tensor = direct._tensor(array)
        expected = tf.constant(array)
        assert tensor.dtype == expected.dtype
        assert np.array_equal(tensor.numpy(), expected.numpy())
