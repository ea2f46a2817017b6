"""Loops in Python over a `tf.data.Dataset`, without TensorFlow's pipeline, which costs a third of their CPU time."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Generator
from functools import cache
from typing import Any

import tensorflow as tf

from .generator import from_generator

_ALIGNMENT = 64
"""Bytes: where TensorFlow's tensors begin. With other memory `from_dlpack` ends the process."""

Generate = Callable[[], Generator[Any, None, None]]


def iterated_directly(dataset: tf.data.Dataset, generate: Generate) -> tf.data.Dataset:
    """The dataset, made by `from_generator(generate, ...)`; but a loop over it in Python runs `generate` itself.

    In a `tf.function`, and for whatever is made of it, the dataset is what it was. An iterator that was begun in Python
    goes on where it is when a `tf.function` takes it.
    """
    kind: Any = type(dataset)
    dataset.__class__ = _direct_class(kind)
    dataset._generate = generate
    return dataset


@cache  # not a type for each dataset, since TensorFlow keeps the types that it has seen
def _direct_class(kind: Any) -> Any:
    class Direct(kind):  # type: ignore[misc]  # TensorFlow has many kinds
        def __iter__(self) -> Any:
            return _iterator_class()(self, self._generate) if tf.executing_eagerly() else super().__iter__()

    Direct.__name__, Direct.__qualname__ = kind.__name__, kind.__qualname__
    return Direct


@cache
def _iterator_class() -> Any:
    owned = type(iter(tf.data.Dataset.range(0)))

    class Iterator(owned):  # type: ignore[misc, valid-type]  # it is not public
        """One pass. Whoever wants TensorFlow's own iterator, by the one name that leads to it, gets what is left."""

        def __init__(self, dataset: tf.data.Dataset, generate: Generate) -> None:
            self._generate, self._lock = generate, threading.Lock()
            self._pass: Generator[Any, None, None] | None = None
            self._resource: Any = None
            super().__init__(dataset)
            self._direct = self._resource is not None  # else TensorFlow has another name for it

        @property
        def _iterator_resource(self) -> Any:
            with self._lock:
                if self._pass is not None:
                    self._hand_over(self._pass)
                self._direct, self._pass = False, None
                return self._resource

        @_iterator_resource.setter
        def _iterator_resource(self, resource: Any) -> None:
            self._resource = resource

        def _hand_over(self, begun: Generator[Any, None, None]) -> None:
            specs = self.element_spec
            with tf.init_scope():
                left = from_generator(lambda: begun, specs if isinstance(specs, tuple) else (specs,))
                if not isinstance(specs, tuple):
                    left = left.map(lambda column: column)
                self._left = iter(left)
            self._resource = self._left._iterator_resource

        def __next__(self) -> Any:
            if self._direct and tf.executing_eagerly():
                with self._lock:
                    if self._direct:  # still: who had the lock may have handed over
                        tensors = tuple(map(_tensor, self._next_arrays()))
                        return tensors if isinstance(self.element_spec, tuple) else tensors[0]
            return super().__next__()

        def get_next(self) -> Any:
            if not (self._direct and tf.executing_eagerly()):
                return super().get_next()
            try:
                return next(self)
            except StopIteration:
                raise tf.errors.OutOfRangeError(None, None, "End of sequence") from None

        def _next_arrays(self) -> Any:
            """Errors are `tf.errors.OpError`, as are those of the iterator to which this is an alternative."""
            try:
                if self._pass is None:
                    self._pass = self._generate()
                while (arrays := next(self._pass)) is None:
                    pass
            except StopIteration:
                raise
            except Exception as error:
                raise tf.errors.UnknownError(None, None, f"{type(error).__name__}: {error}") from error
            return arrays

    return Iterator


def _tensor(array: Any) -> tf.Tensor:
    """The array's memory as a tensor, which keeps it; a copy of what TensorFlow cannot take as it is."""
    try:
        if ctypes.addressof(ctypes.c_char.from_buffer(array)) % _ALIGNMENT == 0:
            return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
    except (BufferError, TypeError, ValueError):
        pass  # not in one piece, not to be written to, empty, or text
    return tf.constant(array)
