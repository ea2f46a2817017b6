"""TensorFlow: to_tf() in loops and in Keras, and a state that counts what the trainer has received."""

from __future__ import annotations

import gc
import json
import os
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from harness import ServerProcess, wait_for
from hostile import Handler, batch_frame, hostile, plain_frame, say_stream

import headrace
from headrace_proto import messages

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TensorFlow's own, while it is imported
    import tensorflow as tf

TRAIN = 90
# Keras says so to whoever passes any tf.data.Dataset.
pytestmark = pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[headrace.Client]:
    with headrace.connect(server.url, wait=0) as connected:
        yield connected


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    gc.collect(1)
    wait_for(lambda: not [t for t in threading.enumerate() if t.name == "headrace-prefetch"], "the threads to end")


def dataset(client: headrace.Client, **options: Any) -> headrace.Dataset:
    defaults = {"split": "train", "batch_size": 8, "shuffle": True, "seed": 5, "dtype": "float32"}
    return client.dataset("flowers", **{**defaults, **options})


def prints(images: Any) -> list[bytes]:
    """What tells every picture from all others."""
    return [np.asarray(image).tobytes() for image in images]


def plain(client: headrace.Client, epochs: int, **options: Any) -> list[list[bytes]]:
    """Epoch after epoch, iterated without TensorFlow."""
    train = dataset(client, **options)
    return [[one for batch in train for one in prints(batch["image"])] for _ in range(epochs)]


def tf_epoch(batches: Any) -> list[bytes]:
    return [one for images, *_ in batches for one in prints(images)]


class Recorder(tf.keras.layers.Layer):  # type: ignore[misc]
    """Notes every picture that comes through."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bytes] = []

    def call(self, images: Any) -> Any:
        def note(values: Any) -> Any:
            self.seen.extend(prints(values))
            return values

        noted = tf.numpy_function(note, [images], images.dtype)
        return tf.ensure_shape(noted, images.shape)


def recording_model(recorder: Recorder | None = None) -> Any:
    """A model that learns nothing much."""
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [layers.Input((16, 16, 3)), *([recorder] if recorder else []), layers.GlobalAveragePooling2D(), layers.Dense(2)]
    )
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, weighted_metrics=[])
    return model


@pytest.mark.parametrize(
    ("options", "specs"),
    [
        ({}, [((None, 16, 16, 3), "float32"), ((None,), "int64")]),
        ({"batch_size": 9}, [((9, 16, 16, 3), "float32"), ((9,), "int64")]),
        ({"tail": "drop", "dtype": None}, [((8, 16, 16, 3), "uint8"), ((8,), "int64")]),
        ({"tail": "pad"}, [((8, 16, 16, 3), "float32"), ((8,), "int64"), ((8,), "bool")]),
        ({"layout": "NCHW", "dtype": "float16"}, [((None, 3, 16, 16), "float16"), ((None,), "int64")]),
    ],
)
def test_the_specs_come_from_the_plan_and_hold(client: headrace.Client, options: Any, specs: Any) -> None:
    train = dataset(client, **options)
    batches = train.to_tf()
    assert [(tuple(spec.shape), spec.dtype.name) for spec in batches.element_spec] == specs
    assert batches.cardinality() == len(train)
    for batch in batches:
        assert all(spec.is_compatible_with(part) for spec, part in zip(batches.element_spec, batch, strict=True))


def test_three_passes_are_three_epochs_in_the_order_of_the_plain_iteration(client: headrace.Client) -> None:
    train = dataset(client)
    batches = train.to_tf()
    assert [tf_epoch(batches) for _ in range(3)] == plain(client, 3)
    assert train.epoch == 3


def test_labels_belong_to_their_pictures(client: headrace.Client) -> None:
    by_picture = {
        one: int(label)
        for batch in dataset(client)
        for one, label in zip(prints(batch["image"]), batch["label"], strict=True)
    }
    for images, labels in dataset(client).to_tf():
        assert [by_picture[one] for one in prints(images)] == labels.numpy().tolist()


def test_fit_sees_three_different_epochs_and_no_sample_twice_in_any(client: headrace.Client) -> None:
    train, recorder = dataset(client), Recorder()
    recording_model(recorder).fit(train.to_tf(), epochs=3, verbose=0)
    epochs = [recorder.seen[i * TRAIN : (i + 1) * TRAIN] for i in range(3)]
    assert epochs == plain(client, 3)
    assert len(recorder.seen) == 3 * TRAIN
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert train.epoch == 3


def test_a_function_goes_on_with_an_iterator_that_a_loop_has_begun(client: headrace.Client) -> None:
    """A custom loop that looks at the first batch, and leaves the others to a function."""
    train = dataset(client)
    iterator = iter(train.to_tf())
    images, _ = next(iterator)
    assert train.state_dict()["samples"] == 8
    following = tf.function(lambda batches: next(batches))
    seen = [*prints(images), *(one for _ in range(len(train) - 1) for one in prints(following(iterator)[0]))]
    assert [seen] == plain(client, 1)
    with pytest.raises((StopIteration, tf.errors.OutOfRangeError)):
        following(iterator)
    assert train.epoch == 1


def test_fit_with_validation_reads_it_whole_after_every_epoch(client: headrace.Client) -> None:
    train, val = dataset(client), dataset(client, split="val", shuffle=False)
    history = recording_model().fit(train.to_tf(), validation_data=val.to_tf(), epochs=2, verbose=0)
    assert len(history.history["val_loss"]) == 2
    assert (train.epoch, val.epoch) == (2, 2)


def test_the_state_counts_what_the_trainer_has_received_at_every_step(client: headrace.Client) -> None:
    """However far ahead the pipeline is, and at its end, where the generator is done long before the trainer."""
    iterated = dataset(client)
    expected = [iterated.state_dict() for _ in range(2) for _ in iterated]
    train = dataset(client)
    batches = train.to_tf()
    seen: list[dict[str, Any]] = []
    for _ in range(2):
        seen.extend(train.state_dict() for _ in batches)
    assert seen == expected
    assert train.state_dict() == expected[-1]


def _prefetching() -> bool:
    return any(thread.name == "headrace-prefetch" for thread in threading.enumerate())


def test_the_state_waits_for_the_trainer_when_the_stream_is_done(client: headrace.Client) -> None:
    train = dataset(client, split="val", batch_size=4)
    running = iter(train.to_tf())
    for step in range(1, 4):
        next(running)
        wait_for(lambda: not _prefetching(), "the whole stream to be in the pipeline")
        assert (train.state_dict()["epoch"], train.state_dict()["samples"]) == (0, 4 * step)
        assert train.epoch == 0
    next(running)
    assert train.state_dict()["epoch"] == 1


def test_the_state_within_fit_is_that_of_the_batch_just_trained_on(client: headrace.Client) -> None:
    iterated = dataset(client)
    expected = [iterated.state_dict() for _ in range(2) for _ in iterated]
    train, seen = dataset(client), []

    class Saver(tf.keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            seen.append(train.state_dict())

    recording_model().fit(train.to_tf(), epochs=2, verbose=0, callbacks=[Saver()])
    assert seen == expected


def test_a_state_of_any_step_is_resumed_exactly(client: headrace.Client) -> None:
    train = dataset(client, batch_size=16, epochs=2)
    running, parts = [], []
    for images, _ in train.to_tf():
        running.append(json.dumps(train.state_dict()))
        parts.append(prints(images))
    for step, state in enumerate(running[:-1], 1):
        fresh = dataset(client, batch_size=16, epochs=2)
        fresh.load_state_dict(json.loads(state))
        batches = fresh.to_tf()
        assert batches.cardinality() == tf.data.UNKNOWN_CARDINALITY
        assert tf_epoch(batches) == [one for part in parts[step:] for one in part]
        assert fresh.epoch == 2


def test_a_pipeline_that_counted_full_epochs_refuses_a_state_in_the_middle_of_one(client: headrace.Client) -> None:
    train = dataset(client)
    batches = train.to_tf()
    next(iter(batches))
    train.load_state_dict(train.state_dict())
    with pytest.raises(tf.errors.OpError, match="call to_tf"):
        list(batches)


def test_repeat_never_ends_and_serves_resuming_with_steps_per_epoch(client: headrace.Client) -> None:
    epochs = plain(client, 3)
    train, recorder = dataset(client), Recorder()
    train.load_state_dict({**train.state_dict(), "samples": 5 * 8})
    batches = train.to_tf(repeat=True)
    assert batches.cardinality() == tf.data.INFINITE_CARDINALITY
    recording_model(recorder).fit(batches, epochs=2, steps_per_epoch=10, verbose=0)
    assert recorder.seen == epochs[0][40:] + epochs[1] + epochs[2][:8]  # 7, 12 and 1 batches
    assert (train.state_dict()["epoch"], train.state_dict()["samples"]) == (2, 8)


def test_padding_comes_as_a_weight_of_nothing(client: headrace.Client) -> None:
    batches = list(dataset(client, batch_size=50, tail="pad").to_tf())
    valid = np.concatenate([valid for _, _, valid in batches])
    assert valid.tolist() == [True] * TRAIN + [False] * 10
    train = dataset(client, batch_size=50, tail="pad")
    recording_model().fit(train.to_tf(), epochs=2, verbose=0)
    assert train.epoch == 2


def test_pictures_without_labels_come_alone(oddities: ServerProcess) -> None:
    with headrace.connect(oddities.url, wait=0) as client:
        flat = client.dataset("flat", batch_size=4).to_tf()
        assert isinstance(flat.element_spec, tf.TensorSpec)
        assert [len(images) for images in flat] == [4, 4, 2]


def test_a_loop_that_is_left_early_begins_its_epoch_again(client: headrace.Client) -> None:
    train = dataset(client)
    batches = train.to_tf()
    for _ in batches:
        break
    assert train.state_dict()["samples"] == 8
    assert [tf_epoch(batches), tf_epoch(batches)] == plain(client, 2)


def test_several_epochs_are_one_pass_of_known_length(client: headrace.Client) -> None:
    train = dataset(client, epochs=2)
    batches = train.to_tf()
    assert batches.cardinality() == 24
    first, second, third, fourth = plain(client, 4)
    assert [tf_epoch(batches), tf_epoch(batches)] == [first + second, third + fourth]


def test_a_rank_without_any_batch_has_epochs_all_the_same(client: headrace.Client) -> None:
    idle = dataset(client, batch_size=60, rank=2, world_size=3, tail="partial")
    batches = idle.to_tf()
    assert [len(list(batches)) for _ in range(2)] == [0, 0]
    assert idle.epoch == 2


def test_further_steps_of_a_pipeline_work_on_it(client: headrace.Client) -> None:
    train = dataset(client)
    batches = train.to_tf().map(lambda images, labels: (images / 255.0, labels)).unbatch().batch(10)
    assert sum(len(images) for images, _ in batches) == TRAIN
    assert train.epoch == 1


@pytest.mark.parametrize(
    "through", [lambda batches: batches, lambda batches: batches.take(-1)], ids=["loop", "pipeline"]
)
def test_no_batch_changes_after_it_was_handed_over(client: headrace.Client, through: Any) -> None:
    kept = [(images, images.numpy().copy()) for images, _ in through(dataset(client, prefetch=1, epochs=2).to_tf())]
    assert len(kept) == 24
    assert all(np.array_equal(images.numpy(), copy) for images, copy in kept)


def test_a_batch_is_adopted_without_a_copy(client: headrace.Client) -> None:
    """TensorFlow takes a buffer as it is where it lies at a multiple of 64 bytes."""
    for batch in dataset(client):
        assert batch["image"].ctypes.data % 64 == 0
        assert batch["image"].flags.c_contiguous


def test_statistics_count_what_the_trainer_received(client: headrace.Client) -> None:
    train, iterated = dataset(client), dataset(client)
    list(iterated)
    for number, _ in enumerate(train.to_tf(), 1):
        assert train.stats().batches == number
    assert (train.stats().images, train.stats().bytes) == (iterated.stats().images, iterated.stats().bytes)
    assert 0 < train.stats().waited_share <= 1


def test_an_error_of_the_server_surfaces_with_its_words() -> None:
    failure = messages.Failure("sample-unavailable", "cat/7.png: read: vanished", 0, 7, "cat/7.png", True)
    stream = say_stream(batch_frame(0, 4), plain_frame(failure))
    with hostile({"/stream": stream}) as server, headrace.connect(server.url, wait=0) as client:
        train, received = client.dataset("made-up", batch_size=4), 0
        with pytest.raises(tf.errors.OpError, match=r"SampleFailed: epoch 0, position 7: cat/7\.png: read: vanished"):  # noqa: PT012
            for _ in train.to_tf():
                received += 1
        assert received == 1
        assert train.state_dict()["samples"] == 4


def test_a_stream_that_falls_silent_is_left_at_once() -> None:
    stream = say_stream(batch_frame(0, 4), Handler.wait)
    with hostile({"/stream": stream}) as server, headrace.connect(server.url, wait=0) as client:
        running = iter(client.dataset("made-up", batch_size=4).to_tf())
        next(running)
        del running
        gc.collect(1)
        wait_for(lambda: not _prefetching(), "the thread to end", seconds=5)


def test_too_many_replaced_samples_end_a_fit_with_their_names(oddities: ServerProcess) -> None:
    with headrace.connect(oddities.url, wait=0) as client:
        with pytest.raises(tf.errors.OpError, match=r"TooManyReplaced.*a/00150\.png"):
            list(client.dataset("worse", batch_size=10).to_tf())
        damaged = client.dataset("damaged", batch_size=10)
        seen = [damaged.state_dict()["replaced"] for _ in damaged.to_tf()]
        assert seen == [0] * 2 + [1] * 13 + [2] * 4 + [0]
        assert damaged.stats().replaced == 2
