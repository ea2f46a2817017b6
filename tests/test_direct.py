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

from headrace.adapters import direct
from headrace.adapters.direct import iterated_directly
from headrace.adapters.generator import from_generator
from headrace_proto.buffers import BufferPool

LENGTH = 6
SPECS = (tf.TensorSpec((4,), tf.int64), tf.TensorSpec((), tf.bool))


class Passes:
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
def passes() -> Passes:
    return Passes()


@pytest.fixture
def dataset(passes: Passes) -> Any:
    return iterated_directly(from_generator(passes, SPECS), passes)


def number(element: Any) -> int:
    return int(element[0][0])


@tf.function  # type: ignore[untyped-decorator]
def next_in_a_function(iterator: Any) -> Any:
    return next(iterator)


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
    assert str(dataset) == str(from_generator(Passes(), SPECS).with_options(tf.data.Options()))


@pytest.mark.parametrize("before", [0, 1, LENGTH - 1, LENGTH])
def test_an_iterator_that_was_begun_in_python_goes_on_in_a_function(dataset: Any, passes: Passes, before: int) -> None:
    iterator = iter(dataset)
    assert [number(next(iterator)) for _ in range(before)] == list(range(before))
    for following in range(before, LENGTH):
        assert number(next_in_a_function(iterator)) == following
    with pytest.raises((StopIteration, tf.errors.OutOfRangeError)):
        next_in_a_function(iterator)
    assert passes.begun == 1
    assert passes.running == 0


def test_an_iterator_that_was_begun_in_a_function_goes_on_in_python(dataset: Any, passes: Passes) -> None:
    iterator = iter(dataset)
    assert number(next_in_a_function(iterator)) == 0
    assert [number(element) for element in iterator] == list(range(1, LENGTH))
    assert passes.begun == 1


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


def test_a_single_column_comes_as_a_tensor(passes: Passes) -> None:
    alone = Passes(columns=1)
    dataset = iterated_directly(from_generator(alone, SPECS[:1]).map(lambda column: column), alone)
    assert [tensor.numpy().tolist() for tensor in dataset] == [[k] * 4 for k in range(LENGTH)]
    iterator = iter(dataset)
    next(iterator)
    assert next_in_a_function(iterator).numpy().tolist() == [1] * 4


def test_an_iterator_that_is_dropped_closes_its_pass(dataset: Any, passes: Passes) -> None:
    for _ in dataset:
        break
    assert (passes.begun, passes.running) == (1, 0)
    iterator = iter(dataset)
    next(iterator)
    next_in_a_function(iterator)
    assert passes.running == 1
    del iterator
    gc.collect()
    assert (passes.begun, passes.running) == (2, 0)


def test_threads_share_an_iterator(dataset: Any) -> None:
    iterator, together = iter(dataset), threading.Barrier(LENGTH)

    def one(_: int) -> int:
        together.wait(10)
        return number(next(iterator))

    with ThreadPoolExecutor(LENGTH) as pool:
        assert sorted(pool.map(one, range(LENGTH))) == list(range(LENGTH))


def test_an_error_says_what_happened_and_where(passes: Passes) -> None:
    def fail() -> Iterator[Any]:
        yield from passes()
        raise ValueError("of the generator")

    iterator = iter(iterated_directly(from_generator(fail, SPECS), fail))
    for _ in range(LENGTH):
        next(iterator)
    with pytest.raises(tf.errors.OpError, match="ValueError: of the generator") as caught:
        next(iterator)
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(StopIteration):
        next(iterator)


def test_a_tensorflow_with_another_name_for_its_iterators_is_asked_itself(
    dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tf.data.Dataset.range(0)

    class Renamed(type(iter(plain))):  # type: ignore[misc]
        def __init__(self, _: Any) -> None:
            self.resource = tf.constant(0)

        def __next__(self) -> Any:
            return np.zeros(4), False

    direct._iterator_class.cache_clear()
    monkeypatch.setattr(type(plain), "__iter__", lambda _: Renamed(None))
    assert number(next(direct._iterator_class()(dataset, Passes()))) == 0
    direct._iterator_class.cache_clear()


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
