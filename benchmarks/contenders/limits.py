"""What nothing could be faster than: the same work with no server at all, and the bare wire."""

from __future__ import annotations

import itertools
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from headrace_server.decode import decode
from headrace_server.jpeg_runs import NATIVE
from headrace_server.native import JpegTask, address_of
from headrace_server.resample import resize

THREADS = 2
_RING = 8
"""Batches that a thread goes round, as a server's would."""
RAW_RING = 64

Item = TypeVar("Item")


def decode_loop(folder: str, side: int, batch_size: int = 32) -> Iterator[tuple[int, int]]:
    """The server's own decoder and resize, on files that are in memory, in two threads."""
    yield from _counted(folder, as_the_server_does, side, batch_size)


def as_the_server_does(data: bytes, out: NDArray[np.uint8]) -> None:
    if NATIVE is None:
        resize(decode(data), out.shape[:2], out=out)
        return
    ((height, width),) = NATIVE.look([data])
    size = (out.shape[0], out.shape[1])
    task = JpegTask(data, height, width, (0, 0, height, width), size, False, (0, 0, *size), address_of(out))
    if not all(NATIVE.make([task])):
        raise ValueError("a file of the benchmark is not as it was made")


def full_decode_loop(folder: str, side: int, batch_size: int = 32) -> Iterator[tuple[int, int]]:
    """Every pixel decoded by libjpeg-turbo, followed by the same antialiased resize, in two threads."""

    def fill(data: bytes, out: NDArray[np.uint8]) -> None:
        resize(simplejpeg.decode_jpeg(data, "RGB"), (side, side), out=out)

    yield from _counted(folder, fill, side, batch_size)


def _counted(
    folder: str, fill: Callable[[bytes, NDArray[np.uint8]], object], side: int, batch_size: int
) -> Iterator[tuple[int, int]]:
    files = [path.read_bytes() for path in jpegs_in(folder)]
    done: queue.Queue[tuple[int, int]] = queue.Queue(maxsize=2)  # between turns the threads wait
    make_batches(files, fill, side, batch_size, lambda batch: done.put((len(batch), batch.nbytes)))
    while True:
        yield done.get()


def jpegs_in(folder: str) -> list[Path]:
    return sorted(Path(folder).rglob("*.jpg"))


def make_batches(
    items: Sequence[Item],
    fill: Callable[[Item, NDArray[np.uint8]], object],
    side: int,
    batch_size: int,
    deliver: Callable[[NDArray[np.uint8]], object],
) -> None:
    """Starts two threads that make batches for ever, of half of the items each; they wait for `deliver`."""

    def work(first: int) -> None:
        buffers = np.empty((_RING, batch_size, side, side, 3), np.uint8)
        mine = itertools.cycle(items[first::THREADS])
        for buffer in itertools.cycle(buffers):
            for slot in buffer:
                fill(next(mine), slot)
            deliver(buffer)

    for first in range(THREADS):
        threading.Thread(target=work, args=(first,), daemon=True).start()


def raw_sockets(address: str, batch_size: int, nbytes: int) -> Iterator[tuple[int, int]]:
    """`recv_into`, going round as many buffers as a trainer's batches would, from a process that sends."""
    host, _, port = address.rpartition(":")
    buffers = [memoryview(bytearray(nbytes)) for _ in range(RAW_RING)]
    with socket.create_connection((host, int(port))) as connection:
        for buffer in itertools.cycle(buffers):
            got = 0
            while got < nbytes:
                received = connection.recv_into(buffer[got:])
                if not received:
                    raise ConnectionError(f"the sender went away after {got} of {nbytes} bytes of a batch")
                got += received
            yield batch_size, nbytes
