"""A server of the tests' own that says whatever a test tells it to: by the book, or against it."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from harness import DEADLINE

from headrace_proto import arrays, frame, messages
from headrace_proto.plan import Output, PlanInfo

SAMPLES = 8
OUTPUTS = (Output("image", "uint8", (4, 4, 3)), Output("label", "int64", ()), Output("key", "str", ()))
INFO = PlanInfo(
    id="plan-1",
    engine="engine-1",
    dataset="made-up",
    split="train",
    samples=SAMPLES,
    outputs=OUTPUTS,
    plan={"dataset": "made-up", "split": "train"},
    fingerprint="0" * 32,
    classes=("cat", "dog"),
    replace_budget=0.01,
)
IDENTITY = {"service": "headrace", "protocol": frame.PROTOCOL, "version": "0", "engine": INFO.engine, "datasets": []}

Answer = Callable[["Handler"], None]


def batch_frame(start: int, count: int, outputs: tuple[Output, ...] = OUTPUTS, /, **changes: Any) -> bytes:
    """A batch of the made-up plan; `changes` are put into its header."""
    tensors, nbytes = arrays.describe(outputs, count)
    payload = np.full(nbytes, start, np.uint8).tobytes()
    keys = [f"{start + i}.png" for i in range(count)]
    header = messages.Batch(INFO.id, INFO.engine, 0, start, count, tensors, {"key": keys}).header()
    return frame.pack_head({**header, **changes}, [payload]) + payload


def plain_frame(message: messages.Message) -> bytes:
    return frame.pack_head(message.header())


def end_frame(position: int = SAMPLES, reason: str = messages.COMPLETE, epoch: int = 0) -> bytes:
    return plain_frame(messages.End(epoch, position, reason))


class Handler(BaseHTTPRequestHandler):
    """Looks its answer up by the path's end."""

    server: _Listener
    disable_nagle_algorithm = True

    body: bytes = b""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.seen.append(f"{self.command} {self.path}")
        matching = [ending for ending in self.server.answers if path.endswith(ending)]
        answer = self.server.answers[max(matching, key=len)] if matching else None
        with contextlib.suppress(ConnectionError):
            (answer or say_json({}, 404))(self)

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, format: str, *_: Any) -> None:
        pass

    def begin(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def wait(self) -> None:
        """Says nothing until the test is over."""
        self.server.over.wait(DEADLINE)
        self.close_connection = True


class _Listener(ThreadingHTTPServer):
    daemon_threads = False  # closing joins them: nothing is left behind
    seen: list[str]
    answers: dict[str, Answer]
    over: threading.Event
    connections: list[socket.socket]

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.connections.append(request)
        with contextlib.suppress(ConnectionError, ValueError):
            super().finish_request(request, client_address)


class _IPv6Listener(_Listener):
    address_family = socket.AF_INET6


@contextlib.contextmanager
def hostile(
    answers: dict[str, Answer] | None = None, *, version: str = "HTTP/1.1", host: str = "127.0.0.1", port: int = 0
) -> Iterator[Hostile]:
    """A server that answers /v1/datasets and /v1/plans by the book, and all that `answers` names in that way."""
    kind = _IPv6Listener if ":" in host else _Listener
    listener = kind((host, port), type("_Handler", (Handler,), {"protocol_version": version}))
    listener.seen, listener.connections, listener.over = [], [], threading.Event()
    listener.answers = {"/v1/datasets": say_json(IDENTITY), "/v1/plans": say_json(INFO.to_json()), **(answers or {})}
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Hostile(listener)
    finally:
        listener.over.set()
        listener.shutdown()
        for connection in listener.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        listener.server_close()
        thread.join()


class Hostile:
    """A running hostile server."""

    def __init__(self, listener: _Listener) -> None:
        self._listener = listener
        self.seen = listener.seen
        """Every request, as "GET /path?query"."""
        self.connections = listener.connections

    def secure(self, context: ssl.SSLContext) -> None:
        """Speaks TLS from now on."""
        self._listener.socket = context.wrap_socket(self._listener.socket, server_side=True)

    @property
    def port(self) -> int:
        return int(self._listener.server_address[1])

    @property
    def url(self) -> str:
        host = str(self._listener.server_address[0])
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def say_json(data: Any, status: int = 200, content_type: str = "application/json") -> Answer:
    return say_whole(json.dumps(data).encode(), status, content_type)


def say_whole(body: bytes, status: int = 200, content_type: str = "text/html", **headers: str) -> Answer:
    """A body whose length is said beforehand."""

    def answer(handler: Handler) -> None:
        handler.begin(status, Content_Type=content_type, Content_Length=str(len(body)), **headers)
        handler.wfile.write(body)

    return answer


def say_raw(data: bytes) -> Answer:
    """Bytes in place of an HTTP response; then the connection is closed."""

    def answer(handler: Handler) -> None:
        handler.wfile.write(data)
        handler.close_connection = True

    return answer


def say_stream(*pieces: bytes | Answer, cut: bool = False) -> Answer:
    """A body whose length is not known beforehand. With `cut` the connection is closed in its middle."""

    def answer(handler: Handler) -> None:
        chunked = handler.protocol_version == "HTTP/1.1"
        handler.begin(200, **({"Transfer_Encoding": "chunked"} if chunked else {}))
        for piece in pieces:
            if not isinstance(piece, bytes):
                piece(handler)
            elif chunked and piece:
                handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            else:
                handler.wfile.write(piece)
        if chunked and not cut:
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = handler.close_connection or cut

    return answer
