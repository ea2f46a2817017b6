"""`tf.data.Dataset.from_generator`, but run in the thread that asks for the next element."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from types import FrameType
from typing import Any

import tensorflow as tf

from .. import interrupts

_LEAVING_SECONDS, _MOMENT, _CALM = 1.0, 0.001, 10
_exiting = False
_NEW = 0
"""A number that no pass has, for one that is to begin."""

Generate = Callable[[], Generator[Any, None, None]]


class Passes:
    """Datasets of what generators yield: each pass runs one of its own, which is closed when the pass is left.

    A generator yields tuples of arrays; or None where it has nothing yet, and is asked again unless TensorFlow wants to
    end. Its errors come as `tf.errors.OpError`; what a handler of signals raises in it comes as it is. TensorFlow's own
    `from_generator` runs it in another thread, for which the one that asks waits, at every element.
    """

    def __init__(self, generate: Generate, specs: Any) -> None:
        """`specs` are the `tf.TensorSpec` of the arrays: a tuple of them, or one alone where elements are no tuples."""
        interrupts.watch()
        self.generate, self.specs = generate, specs
        self._begun: weakref.WeakValueDictionary[int, Generator[Any, None, None]] = weakref.WeakValueDictionary()
        self._running: dict[int, tuple[Generator[Any, None, None], int]] = {}
        """Each pass's generator, and how often Ctrl-C had come before it."""
        self._numbers = itertools.count(_NEW + 1)
        self._pass = _traced(self._generated)

    def dataset(self) -> tf.data.Dataset:
        """All passes."""
        return self._dataset(_NEW)

    def rest(self, begun: Generator[Any, None, None]) -> tf.data.Dataset:
        """What a generator that was begun elsewhere has left, for one pass; who wants it has to hold the generator.

        TensorFlow would do so for ever, as it keeps all functions of Python's that it has ever called: hence only one
        of them for all passes, to which a number says which.
        """
        number = next(self._numbers)
        self._begun[number] = begun
        return self._dataset(number)

    def _dataset(self, number: int) -> tf.data.Dataset:
        alone = tf.data.Dataset.from_tensors(tf.constant(number, tf.int64))
        return _mapped(tf.raw_ops.FlatMapDataset, alone, self._pass, self.specs).with_options(_options())

    def _generated(self, number: Any) -> Any:
        """The pass of a number, as a dataset's variant."""
        signature = tf.TensorSpec((), tf.int64)
        numbered = tf.data.Dataset.from_generator(self._running_numbers, args=(number,), output_signature=signature)
        elements = numbered.flat_map(_repeated(self._element, self.specs))
        return tf.data.experimental.to_variant(elements)

    def _running_numbers(self, wanted: Any) -> Iterator[int]:
        """The number of a pass, until it is over; TensorFlow closes this when it drops the pass."""
        begun = self.generate() if wanted == _NEW else self._begun.pop(int(wanted))
        number = next(self._numbers)
        with contextlib.closing(begun) as generator:
            self._running[number] = generator, interrupts.count()
            try:
                while number in self._running and not _exiting:
                    yield number
            finally:
                self._running.pop(number, None)

    def _element(self, number: Any) -> Any:
        """The pass's next element; raises StopIteration where there is none, for the time being or for good."""
        interrupts.redirect(_caller)  # again and again: a notebook takes the handler back with every cell
        generator, pressed = self._running[int(number)]
        try:
            if interrupts.pending():
                raise KeyboardInterrupt
            found = None if _exiting else next(generator)
            if found is None and interrupts.unheard(pressed):
                raise KeyboardInterrupt
        except StopIteration:
            del self._running[int(number)]
            raise
        except Exception:
            raise
        except BaseException as error:  # of a handler of signals
            if caller := _caller(sys._getframe()):
                interrupts.raise_in(caller, error)
            raise
        if found is None:
            raise StopIteration
        return found


def _repeated(function: Callable[[Any], Any], specs: Any) -> Callable[[Any], tf.data.Dataset]:
    """Makes a dataset of a number: what `function` returns for it, time after time, until it raises StopIteration.

    `Dataset.map` would do, but has no parameter for its two attributes by which the function runs in the thread that
    asks, and may end the dataset.
    """
    types = [spec.dtype for spec in tf.nest.flatten(specs)]
    called = _traced(lambda number: tf.numpy_function(function, [number], types))
    attributes = {"use_inter_op_parallelism": False, "preserve_cardinality": False}

    def repeated(number: Any) -> tf.data.Dataset:
        numbers = tf.data.Dataset.from_tensors(number).repeat()
        return _mapped(tf.raw_ops.MapDataset, numbers, called, specs, **attributes)

    quiet: Callable[[Any], tf.data.Dataset] = tf.autograph.experimental.do_not_convert(repeated)
    return quiet


def _traced(function: Callable[[Any], Any]) -> Any:
    """Of a number, as the datasets' operations take it."""
    return tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec((), tf.int64))


def _mapped(operation: Any, numbers: tf.data.Dataset, traced: Any, specs: Any, **attributes: bool) -> tf.data.Dataset:
    """A dataset's operation on another one of numbers."""
    flat = tf.nest.flatten(specs)
    variant = operation(
        input_dataset=tf.data.experimental.to_variant(numbers),
        other_arguments=[],
        f=traced,
        output_types=[spec.dtype for spec in flat],
        output_shapes=[spec.shape for spec in flat],
        **attributes,
    )
    return tf.data.experimental.from_variant(variant, specs)


def _options() -> tf.data.Options:
    """Without what TensorFlow would run ahead by itself, in a thread of its own, where nobody has asked yet."""
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    options.experimental_optimization.map_parallelization = False
    return options


def _caller(frame: FrameType | None) -> FrameType | None:
    """Who called TensorFlow, where that called this frame, ours or TensorFlow's own; None for a function of the user's.

    TensorFlow makes an error of its own of whatever its callee raises.
    """
    packages: set[str] = set()
    while frame is not None and not _calls_back(frame):
        packages.add(frame.f_globals.get("__name__", "").partition(".")[0])
        frame = frame.f_back
    ours = "headrace" in packages or packages <= {"tensorflow", "numpy", "weakref"}
    return frame.f_back if frame is not None and ours else None


def _calls_back(frame: FrameType) -> bool:
    """Whether this is where TensorFlow calls Python."""
    return frame.f_code.co_name == "__call__" and frame.f_globals.get("__name__") == tf.numpy_function.__module__


def _let_out() -> None:
    """Lets TensorFlow's threads come out of Python, in which the interpreter's end would stop them for ever.

    Whoever waits for one of them, as TensorFlow does for those that a prefetch has started, would never return.
    """
    global _exiting
    _exiting = True
    end, calm = time.monotonic() + _LEAVING_SECONDS, 0
    while calm < _CALM and time.monotonic() < end:
        time.sleep(_MOMENT)
        calm = 0 if _is_called_elsewhere() else calm + 1
    _exiting = calm < _CALM  # others' last deeds may be to read something


def _is_called_elsewhere() -> bool:
    """Whether TensorFlow is calling Python in another thread."""
    for thread, innermost in sys._current_frames().items():
        frame: FrameType | None = innermost if thread != threading.get_ident() else None
        while frame is not None:
            if _calls_back(frame):
                return True
            frame = frame.f_back
    return False


atexit.register(_let_out)
