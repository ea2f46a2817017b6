"""A process that makes batches as the bare loop does, of files that it reads, and sends them: the least of a server."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.contenders.limits import as_the_server_does, jpegs_in, make_batches


def _make_from_file(path: Path, out: NDArray[np.uint8]) -> None:
    with path.open("rb", buffering=0) as file:
        as_the_server_does(file.readall(), out)


def main() -> None:
    folder, side, batch_size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    turn = threading.Lock()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()[:2]
        print(f"serving on {host}:{port}", flush=True)
        connection, _ = listener.accept()

    def send(batch: NDArray[np.uint8]) -> None:
        with turn:
            connection.sendall(batch.data)

    make_batches(jpegs_in(folder), _make_from_file, side, batch_size, send)
    threading.Event().wait()  # whoever started this ends it


if __name__ == "__main__":
    main()
