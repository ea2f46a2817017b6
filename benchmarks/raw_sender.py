"""A process that sends batches of random bytes with `sendall`, going round 64 buffers: the limit of the wire."""

from __future__ import annotations

import itertools
import os
import socket
import sys
import threading

from benchmarks.contenders.limits import RAW_RING


def _send(connection: socket.socket, buffers: list[bytes]) -> None:
    with connection:
        try:
            for buffer in itertools.cycle(buffers):
                connection.sendall(buffer)
        except OSError:  # the receiver has had enough
            return


def main() -> None:
    nbytes = int(sys.argv[1])
    buffers = [os.urandom(nbytes) for _ in range(RAW_RING)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()[:2]
        print(f"serving on {host}:{port}", flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_send, args=(connection, buffers), daemon=True).start()


if __name__ == "__main__":
    main()
