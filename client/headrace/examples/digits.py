"""Trains a small Keras CNN on handwritten digits that a headrace server streams.

python -m headrace.examples.digits --url http://storage:8000
"""
# ruff: noqa: T201 - a program, which prints

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any

import headrace
from headrace.adapters.causes import cause_in

REQUIRED = 0.97
"""Test accuracy below which the program's exit status is 1."""
_SIDE = 16
"""Pixels: the digits are 8 x 8, and turn and shift more smoothly when they are enlarged first."""
_TRAIN = [
    headrace.Grayscale(),
    headrace.Resize((_SIDE, _SIDE)),
    headrace.RandomRotation(10),
    headrace.RandomCrop(_SIDE, padding=1),
]
_TEST = _TRAIN[:2]


def main() -> int:
    """Returns the exit status: 0 if the model is good enough, 1 if not, or if the server cannot be had."""
    arguments = _arguments()
    # Before TensorFlow is imported, which would greet; oneDNN announces itself at any level.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        with headrace.connect(arguments.url, token=os.environ.get("HEADRACE_TOKEN")) as client:
            return _train_and_test(client, arguments)
    except headrace.HeadraceError as error:
        print(f"digits: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped" if sys.stdout.isatty() else "stopped")
        return 130


def _train_and_test(client: headrace.Client, arguments: argparse.Namespace) -> int:
    print("loading   TensorFlow, which takes some seconds", flush=True)
    import tensorflow as tf

    try:
        accuracy = _accuracy(client, arguments)
    except tf.errors.OpError as error:
        if sys.stdout.isatty():
            print()  # the epoch's line is not ended
        raise headrace.ServiceError(cause_in(error.message)) from error
    return judged(accuracy)


def judged(accuracy: float) -> int:
    """The exit status for a test accuracy, which is a share."""
    if accuracy > REQUIRED:
        return 0
    print(f"digits: expected a test accuracy above {REQUIRED:.0%}; train for more --epochs", file=sys.stderr)
    return 1


def _accuracy(client: headrace.Client, arguments: argparse.Namespace) -> float:
    """The share of test images that the model names rightly after its training."""
    train = client.dataset(
        arguments.dataset, split="train", batch_size=32, shuffle=True, seed=arguments.seed, transforms=_TRAIN
    )
    test = client.dataset(arguments.dataset, split="test", batch_size=128, transforms=_TEST)
    batches = train.to_tf()
    model = _model(len(train.classes or ()), steps=arguments.epochs * len(train), seed=arguments.seed)
    print(f"training  on {train.samples:,} images, {len(train)} batches an epoch", flush=True)

    model.fit(
        batches, epochs=arguments.epochs, shuffle=False, verbose=0, callbacks=[_progress(train, arguments.epochs)]
    )

    accuracy: float = model.evaluate(test.to_tf(), verbose=0, return_dict=True)["accuracy"]
    print(f"trained   {train.stats()}")
    print(f"tested    on {test.samples:,} other images: accuracy {accuracy:.2%}", flush=True)
    return accuracy


def _model(classes: int, steps: int, seed: int) -> Any:
    """A convolutional network of a few layers, which takes uint8 as it comes from the wire."""
    import keras

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((_SIDE, _SIDE, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(24, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(48, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(96, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(classes, activation="softmax"),
        ]
    )
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _progress(train: headrace.Dataset, epochs: int) -> Any:
    """A Keras callback: a line for each epoch, which grows in place on a terminal."""
    import keras

    class Progress(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.epoch, self.before, self.next = epoch, train.stats(), 0.0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if sys.stdout.isatty() and time.monotonic() >= self.next:
                self.next = time.monotonic() + 0.1
                print(f"\r{self._line(logs)}\x1b[K", end="", flush=True)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            print(f"\r{self._line(logs)}\x1b[K" if sys.stdout.isatty() else self._line(logs), flush=True)

        def _line(self, logs: Any) -> str:
            now, before = train.stats(), self.before
            images, seconds = now.images - before.images, now.seconds - before.seconds
            waited = (now.waited_seconds - before.waited_seconds) / seconds
            return (
                f"epoch {self.epoch + 1:>2}/{epochs}  {images:>5,} images  {images / seconds:>6,.0f} images/s  "
                f"waited {waited:>4.0%}  accuracy {logs['accuracy']:.1%}"
            )

    return Progress()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m headrace.examples.digits",
        description="Trains a small Keras CNN on handwritten digits from a headrace server, and tests it.",
    )
    parser.add_argument("--url", required=True, help="the server's address, as in http://storage:8000")
    parser.add_argument("--dataset", default="digits", help="its name on the server (default: digits)")
    parser.add_argument("--epochs", type=int, default=15, help="passes over the training images (default: 15)")
    parser.add_argument("--seed", type=int, default=0, help="of the order, the transforms and the weights (default: 0)")
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error(f"--epochs must be at least 1, found {arguments.epochs}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
