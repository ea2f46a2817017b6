"""`tf.data.Dataset.from_generator`, but run in the thread that asks for the next element."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from types import FrameType
from typing import Any

import tensorflow as tf

from .. import interrupts

_LEAVING_SECONDS, _MOMENT, _CALM = 1.0, 0.001, 10
_exiting = False


def from_generator(generate: Callable[[], Generator[Any, None, None]], specs: Any) -> tf.data.Dataset:
    """A dataset of tuples of arrays, each pass of which runs a generator of its own, closed where the pass is left.

    `specs` are `tf.TensorSpec`, one for each array of a tuple. A generator that yields None has nothing yet, and is
    asked again unless TensorFlow wants to end. Its errors come as `tf.errors.OpError`; what a handler of signals raises
    in it comes as it is. TensorFlow's own runs the generator in another thread, for which the one that asks waits, at
    every element.
    """
    interrupts.watch()
    running: dict[int, tuple[Iterator[Any], int]] = {}
    """Each pass's generator, and how often Ctrl-C had come before it."""
    numbers = itertools.count()

    def passes() -> Iterator[int]:
        """The number of a pass, until it is over; TensorFlow closes this when it drops the pass."""
        number = next(numbers)
        with contextlib.closing(generate()) as generator:
            running[number] = generator, interrupts.count()
            try:
                while number in running and not _exiting:
                    yield number
            finally:
                running.pop(number, None)

    def element(number: Any) -> Any:
        """The pass's next element; raises StopIteration where there is none, for the time being or for good."""
        interrupts.redirect(_caller)  # again and again: a notebook takes the handler back with every cell
        generator, pressed = running[int(number)]
        try:
            if interrupts.pending():
                raise KeyboardInterrupt
            found = None if _exiting else next(generator)
            if found is None and interrupts.unheard(pressed):
                raise KeyboardInterrupt
        except StopIteration:
            del running[int(number)]
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

    numbered = tf.data.Dataset.from_generator(passes, output_signature=tf.TensorSpec((), tf.int64))
    return numbered.flat_map(_repeated(element, specs)).with_options(_options())


def _repeated(function: Callable[[Any], Any], specs: Any) -> Callable[[Any], tf.data.Dataset]:
    """Makes a dataset of a number: what `function` returns for it, time after time, until it raises StopIteration.

    `Dataset.map` would do, but has no parameter for its two attributes by which the function runs in the thread that
    asks, and may end the dataset.
    """

    def call(number: Any) -> Any:
        return tf.numpy_function(function, [number], [spec.dtype for spec in specs])

    traced = tf.function(call, autograph=False).get_concrete_function(tf.TensorSpec((), tf.int64))

    def repeated(number: Any) -> tf.data.Dataset:
        numbers = tf.data.Dataset.from_tensors(number).repeat()
        variant = tf.raw_ops.MapDataset(
            input_dataset=tf.data.experimental.to_variant(numbers),
            other_arguments=[],
            f=traced,
            output_types=[spec.dtype for spec in specs],
            output_shapes=[spec.shape for spec in specs],
            use_inter_op_parallelism=False,
            preserve_cardinality=False,
        )
        return tf.data.experimental.from_variant(variant, specs)

    quiet: Callable[[Any], tf.data.Dataset] = tf.autograph.experimental.do_not_convert(repeated)
    return quiet


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
