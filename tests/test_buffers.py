"""Memory is used again when nothing holds it, and never before."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from headrace_proto.buffers import BufferPool


def address(buffer: np.ndarray) -> int:
    return buffer.ctypes.data


@pytest.mark.parametrize("nbytes", [1, 63, 64, 65, 4096])
def test_a_buffer_has_the_bytes_asked_for_and_is_aligned(nbytes: int) -> None:
    buffer = BufferPool().get(nbytes)
    assert buffer.nbytes == nbytes
    assert address(buffer) % 64 == 0


def test_a_buffer_that_nobody_holds_is_used_again() -> None:
    pool = BufferPool()
    first = address(pool.get(1000))
    assert address(pool.get(1000)) == first


@pytest.mark.parametrize(
    "hold",
    [
        lambda buffer: buffer,
        lambda buffer: buffer[10:20],
        lambda buffer: buffer.data,
        lambda buffer: np.frombuffer(buffer.data[8:16], np.int64),
        lambda buffer: memoryview(buffer.data)[5:],
    ],
    ids=["itself", "view", "memoryview", "array of a memoryview", "slice of a memoryview"],
)
def test_a_buffer_that_somebody_holds_in_any_way_is_left_alone(hold) -> None:
    pool = BufferPool()
    held = hold(pool.get(1000))
    others = [pool.get(1000) for _ in range(5)]
    assert not any(np.shares_memory(np.frombuffer(held, np.uint8), other) for other in others)
    assert len({address(other) for other in others}) == 5


def test_a_tensor_of_torch_holds_its_buffer() -> None:
    torch = pytest.importorskip("torch")
    pool = BufferPool()
    tensor = torch.from_numpy(pool.get(1000)[:500])
    tensor[:] = 7
    for _ in range(5):
        pool.get(1000)[:] = 1
    assert bool((tensor == 7).all())


def test_a_tensor_of_tensorflow_holds_its_buffer() -> None:
    tf = pytest.importorskip("tensorflow")
    pool = BufferPool()
    buffer = pool.get(64 * 64)
    buffer[:] = 7
    spec = tf.TensorSpec((64 * 64,), tf.uint8)
    (tensor,) = tf.data.Dataset.from_generator(lambda buffers=[buffer]: iter([buffers.pop()]), output_signature=spec)
    assert np.asarray(memoryview(tensor)).ctypes.data == address(buffer), "TensorFlow copied, so this shows nothing"
    del buffer
    for _ in range(5):
        pool.get(64 * 64)[:] = 1
    assert bool(tf.reduce_all(tensor == 7))


def test_buffers_of_other_lengths_are_given_up_when_they_are_many() -> None:
    pool = BufferPool(most_idle=2)
    for nbytes in range(1, 20):
        pool.get(nbytes)
    assert len(pool._rooms) <= 3


def test_buffers_are_kept_however_many_while_there_is_room_for_them() -> None:
    pool = BufferPool(most_idle=2, most_bytes=20 * 1064)
    held = [pool.get(1000) for _ in range(20)]
    before = {address(buffer) for buffer in held}
    del held
    again = [pool.get(1000) for _ in range(20)]
    assert {address(buffer) for buffer in again} == before
    more = [pool.get(1000) for _ in range(10)]
    assert len(pool._rooms) == 30
    del again, more
    pool.get(5000)
    assert sum(room.length for room in pool._rooms if room.length == 1064) <= 20 * 1064


def test_threads_never_get_the_same_buffer_at_once() -> None:
    pool, errors = BufferPool(), []

    def work(mark: int) -> None:
        for _ in range(500):
            buffer = pool.get(256)
            buffer[:] = mark
            if not (buffer == mark).all():
                errors.append(mark)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
