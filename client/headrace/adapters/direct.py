"""Loops in Python over a `tf.data.Dataset`, without TensorFlow's pipeline, which costs a third of their CPU time."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Generator
from functools import cache
from types import new_class
from typing import Any

import tensorflow as tf

from .generator import Passes

_ALIGNMENT = 64
"""Bytes: where TensorFlow's tensors begin. With other memory `from_dlpack` ends the process."""

_RESOURCE = "_iterator_resource"
"""The attribute of TensorFlow's iterators by which its functions and operations take them."""

_ERRORS = {
    TypeError: tf.errors.InvalidArgumentError,
    ValueError: tf.errors.InvalidArgumentError,
    MemoryError: tf.errors.ResourceExhaustedError,
    NotImplementedError: tf.errors.UnimplementedError,
    Exception: tf.errors.UnknownError,
}
"""What TensorFlow makes of a function's errors (`tensorflow/python/lib/core/py_func.cc`)."""


def iterated_directly(dataset: tf.data.Dataset, passes: Passes) -> tf.data.Dataset:
    """The dataset, made of `passes.dataset()` as it is; but a loop over it in Python runs their generators itself.

    In a `tf.function`, and for whatever is made of it, the dataset is what it was. An iterator that was begun in Python
    goes on where it is when a `tf.function` takes it. What the generators yield has to be what `passes.specs` say: only
    TensorFlow's pipeline checks that.
    """
    kind: Any = type(dataset)
    dataset.__class__ = _dataset_class(kind)
    dataset._passes = passes
    return dataset


@cache  # not a type for each dataset, since TensorFlow keeps the types that it has seen
def _dataset_class(kind: Any) -> Any:
    class Direct(kind):  # type: ignore[misc]  # TensorFlow has many kinds
        def __iter__(self) -> Any:
            return _iterator_class()(self, self._passes) if tf.executing_eagerly() else super().__iter__()

    Direct.__name__, Direct.__qualname__ = kind.__name__, kind.__qualname__
    return Direct


@cache
def _iterator_class() -> Any:
    owned = type(iter(tf.data.Dataset.range(0)))  # it is not public
    return new_class("Iterator", (_DirectIterator, owned))


class _DirectIterator:
    """Is mixed into the class of an iterator: one pass.

    Whoever wants TensorFlow's own iterator, by the one name that leads to it, gets what is left. A copy of it does not
    share the pass.
    """

    element_spec: Any

    def __init__(self, dataset: tf.data.Dataset, passes: Passes) -> None:
        self._passes, self._lock = passes, threading.Lock()
        self._pass: Generator[Any, None, None] | None = None
        self._interrupted: str | None = None
        super().__init__(dataset)  # type: ignore[call-arg]
        self._direct = _RESOURCE in vars(self)  # else TensorFlow has another name for it

    @property
    def _iterator_resource(self) -> Any:
        with self._lock:
            self._refuse_interrupted()
            if self._pass is not None:
                self._hand_over(self._pass)
            self._direct, self._pass = False, None
            return vars(self)[_RESOURCE]

    @_iterator_resource.setter
    def _iterator_resource(self, resource: Any) -> None:
        vars(self)[_RESOURCE] = resource

    def _hand_over(self, begun: Generator[Any, None, None]) -> None:
        with tf.init_scope():
            self._left = iter(self._passes.rest(begun))
        vars(self)[_RESOURCE] = resource = vars(self._left)[_RESOURCE]
        resource._pass = begun  # as long as anyone has it, a function say

    def __next__(self) -> Any:
        if self._direct and tf.executing_eagerly():
            with self._lock:
                if self._direct:  # still: who had the lock may have handed over
                    return self._next_tensors()
        return super().__next__()  # type: ignore[misc]

    def get_next(self) -> Any:
        if not (self._direct and tf.executing_eagerly()):
            return super().get_next()  # type: ignore[misc]
        try:
            return next(self)
        except StopIteration:
            raise tf.errors.OutOfRangeError(None, None, "End of sequence") from None

    def _next_tensors(self) -> Any:
        self._refuse_interrupted()
        try:
            tensors = tuple(map(_tensor, self._next_arrays()))
        except Exception:
            raise
        except BaseException as error:  # of a handler of signals: it ended the generator, which then looks finished
            self._interrupted = type(error).__name__
            raise
        return tensors if isinstance(self.element_spec, tuple) else tensors[0]

    def _refuse_interrupted(self) -> None:
        if self._interrupted is not None:
            advice = "iterate over the dataset again, which begins a new one"
            raise tf.errors.AbortedError(None, None, f"{self._interrupted} has ended this pass in its middle; {advice}")

    def _next_arrays(self) -> Any:
        """Errors are `tf.errors.OpError`, as are those of the iterator to which this is an alternative."""
        try:
            if self._pass is None:
                self._pass = self._passes.generate()
            while (arrays := next(self._pass)) is None:
                pass
        except StopIteration:
            raise
        except Exception as error:
            kind = next(_ERRORS[parent] for parent in type(error).__mro__ if parent in _ERRORS)
            raise kind(None, None, f"{type(error).__name__}: {error}") from error
        return arrays


def _tensor(array: Any) -> tf.Tensor:
    """The array's memory as a tensor, which keeps it; a copy of what TensorFlow cannot take as it is."""
    try:
        if ctypes.addressof(ctypes.c_char.from_buffer(array)) % _ALIGNMENT == 0:
            return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    except (BufferError, TypeError, ValueError):
        pass  # not in one piece, not to be written to, empty, or text
    return tf.constant(array)
