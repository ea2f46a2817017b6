"""The steps from `from_tensor_slices` to headrace, each as one would write it; shown in docs/moving-from-tf-data.md."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
import tensorflow as tf

import headrace

Read = Callable[[Path], bytes]


def listed(folder: str) -> tuple[list[Path], list[int]]:
    """Every image below class folders, and its label."""
    paths = sorted(Path(folder).rglob("*.jpg"))
    classes = sorted({path.parent.name for path in paths})
    return paths, [classes.index(path.parent.name) for path in paths]


def decoded(data: bytes) -> Any:
    """A picture for the model, from a JPEG's bytes: (224, 224, 3) uint8."""
    return cv2.resize(simplejpeg.decode_jpeg(data), (224, 224))


SIGNATURE = (tf.TensorSpec((224, 224, 3), tf.uint8), tf.TensorSpec((), tf.int64))


def in_memory(folder: str) -> tf.data.Dataset:
    paths, labels = listed(folder)
    images = np.stack([decoded(path.read_bytes()) for path in paths])
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    return dataset.shuffle(len(paths)).repeat().batch(32).prefetch(tf.data.AUTOTUNE)


def paths_and_map(folder: str) -> tf.data.Dataset:
    def load(path: Any, label: Any) -> Any:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        image = tf.image.resize(image, (224, 224))
        return tf.cast(tf.round(image), tf.uint8), label

    paths, labels = listed(folder)
    dataset = tf.data.Dataset.from_tensor_slices(([str(path) for path in paths], labels))
    dataset = dataset.shuffle(len(paths)).repeat().map(load, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(32).prefetch(tf.data.AUTOTUNE)


def generator(folder: str, read: Read = Path.read_bytes) -> tf.data.Dataset:
    paths, labels = listed(folder)

    def generate() -> Iterator[Any]:
        while True:
            for i in random.sample(range(len(paths)), len(paths)):
                yield decoded(read(paths[i])), labels[i]

    dataset = tf.data.Dataset.from_generator(generate, output_signature=SIGNATURE)
    return dataset.batch(32).prefetch(tf.data.AUTOTUNE)


def generator_with_thread(folder: str, read: Read = Path.read_bytes) -> tf.data.Dataset:
    paths, labels = listed(folder)
    ready: queue.Queue[Any] = queue.Queue(maxsize=128)

    def preload() -> None:
        while True:
            for i in random.sample(range(len(paths)), len(paths)):
                ready.put((decoded(read(paths[i])), labels[i]))

    def generate() -> Iterator[Any]:
        threading.Thread(target=preload, daemon=True).start()
        while True:
            yield ready.get()

    dataset = tf.data.Dataset.from_generator(generate, output_signature=SIGNATURE)
    return dataset.batch(32).prefetch(tf.data.AUTOTUNE)


def from_headrace(url: str, name: str) -> tf.data.Dataset:
    client = headrace.connect(url)
    train = client.dataset(name, batch_size=32, shuffle=True, transforms=[headrace.Resize((224, 224))])
    return train.to_tf(repeat=True)
