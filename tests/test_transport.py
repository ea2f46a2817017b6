"""The direct transport, and that nothing of httpx, http.client, ssl or json gets through to the trainer."""

from __future__ import annotations

import contextlib
import gc
import gzip
import http.client
import threading
import time
import warnings
from collections.abc import Iterator

import httpx
import pytest
from harness import ServerProcess
from hostile import (
    IDENTITY,
    INFO,
    Answer,
    Handler,
    batch_frame,
    end_frame,
    hostile,
    say_json,
    say_raw,
    say_stream,
    say_whole,
)

import headrace
from headrace.transport import DirectTransport, as_httpx

HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(autouse=True)
def _no_socket_is_left_open() -> Iterator[None]:
    """A socket that is collected while it is open warns; here the warning fails the test."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ResourceWarning)
        yield
        gc.collect(1)  # young objects: those of this test
    assert [str(warning.message) for warning in seen] == []


def batches_of(url: str, **options: object) -> list[headrace.Batch]:
    with headrace.connect(url, wait=0, read_timeout=0.5) as client:
        return list(client.dataset("made-up", batch_size=4, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_a_stream_is_read_in_chunks_and_until_the_connection_closes(version: str) -> None:
    with hostile({"/stream": say_stream(batch_frame(0, 4), batch_frame(4, 4), end_frame())}, version=version) as server:
        first, second = batches_of(server.url)
    assert (first["image"] == 0).all()
    assert second["key"].tolist() == ["4.png", "5.png", "6.png", "7.png"]


def test_a_response_says_its_length_and_is_read_in_parts() -> None:
    body = bytes(range(256)) * 1000
    with hostile({"/body": say_whole(body)}) as server, httpx.Client(transport=DirectTransport()) as http:
        with http.stream("GET", f"{server.url}/body") as response:
            received = bytearray(300_000)
            count = 0
            while more := response.extensions["readinto"](memoryview(received)[count : count + 7777]):
                count += more
        assert bytes(received[:count]) == body
        assert http.get(f"{server.url}/body").content == body


def test_a_connection_is_used_again_and_replaced_where_the_server_has_closed_it() -> None:
    ports = []

    def answer(handler: Handler) -> None:
        ports.append(handler.client_address[1])
        handler.begin(Content_Length="2")
        handler.wfile.write(b"ok")
        if len(ports) == 2:
            handler.close_connection = True  # without saying so

    with hostile({"/ok": answer}) as server, httpx.Client(transport=DirectTransport()) as http:
        for _ in range(4):
            assert http.get(f"{server.url}/ok").content == b"ok"
    assert ports[0] == ports[1] != ports[2] == ports[3]


def test_a_connection_that_comes_back_after_the_end_is_closed() -> None:
    """Another thread may still read an answer when the client is closed; the fixture above sees a socket left open."""
    with hostile({"/ok": say_whole(b"ok")}) as server:
        transport = DirectTransport()
        response = transport.handle_request(httpx.Request("GET", f"{server.url}/ok"))
        transport.close()
        assert response.read() == b"ok"
        response.close()


def test_a_kept_connection_on_which_nothing_more_comes_is_closed_at_the_timeout() -> None:
    answers: dict[str, Answer] = {"/ok": say_whole(b"ok"), "/silent": Handler.wait}
    with hostile(answers) as server, httpx.Client(transport=DirectTransport(), timeout=0.1) as http:
        http.get(f"{server.url}/ok")
        with pytest.raises(httpx.ReadTimeout):
            http.get(f"{server.url}/silent")


def test_a_connection_that_has_had_a_large_answer_waits_for_small_ones_and_no_longer_than_it_should() -> None:
    ports: list[int] = []

    def wait(handler: Handler) -> None:
        ports.append(handler.client_address[1])
        handler.wait()

    def large(handler: Handler) -> None:
        ports.append(handler.client_address[1])
        say_stream(bytes(3_000_000))(handler)

    answers: dict[str, Answer] = {"/large": large, "/ok": say_whole(b"ok"), "/silent": wait}
    with hostile(answers) as server, httpx.Client(transport=DirectTransport(), timeout=0.1) as http:
        with http.stream("GET", f"{server.url}/large") as response:
            left = memoryview(bytearray(3_000_001))
            while count := response.extensions["readinto"](left):
                left = left[count:]
            assert len(left) == 1
        assert http.get(f"{server.url}/ok").content == b"ok"
        with pytest.raises(httpx.ReadTimeout):
            http.get(f"{server.url}/silent")
    assert ports[0] == ports[1]


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_abort_wakes_a_thread_that_waits_for_bytes(version: str) -> None:
    ended: list[float] = []
    with (
        hostile({"/stream": say_stream(b"x", Handler.wait)}, version=version) as server,
        httpx.Client(transport=DirectTransport()) as http,
        http.stream("GET", f"{server.url}/stream") as response,
    ):
        readinto = response.extensions["readinto"]
        assert readinto(memoryview(bytearray(1))) == 1

        def wait() -> None:
            with contextlib.suppress(httpx.HTTPError):
                assert readinto(memoryview(bytearray(1))) == 0
            ended.append(time.monotonic())

        thread = threading.Thread(target=wait)
        thread.start()
        response.extensions["abort"]()
        thread.join(5)
        assert ended


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_leaving_a_stream_that_is_silent_ends_its_thread_at_once(version: str) -> None:
    with (
        hostile({"/stream": say_stream(batch_frame(0, 4), Handler.wait)}, version=version) as server,
        headrace.connect(server.url, wait=0) as client,
    ):
        for _ in client.dataset("made-up", batch_size=4):
            break
        assert not [thread for thread in threading.enumerate() if thread.name == "headrace-prefetch"]


def say_without_end(handler: Handler) -> None:
    """JSON that goes on for as long as somebody takes it."""
    handler.begin(200, Content_Type="application/json")
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.wfile.write(b"[")
        while True:
            handler.wfile.write(b" " * 2**20)


SPOILED: dict[str, Answer] = {
    "nothing": say_raw(b""),
    "another protocol": say_raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "an endless first line": say_raw(b"HTTP/1.1 200 " + b"k" * 100_000),
    "no status": say_raw(b"HTTP/1.1 fine\r\n\r\n"),
    "too many headers": say_raw(HEAD + b"".join(b"x-%d: y\r\n" % n for n in range(200)) + b"\r\n"),
    "an endless header": say_raw(HEAD + b"x: " + b"y" * 100_000),
    "a header of no ASCII": say_raw(HEAD + "x: größer\r\ncontent-length: 0\r\n\r\n".encode("latin-1")),
    "headers cut": say_raw(HEAD + b"x: y\r\n"),
    "a chunk without a length": say_raw(HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n"),
    "a negative chunk": say_raw(HEAD + b"transfer-encoding: chunked\r\n\r\n-5\r\nabcde\r\n"),
    "an endless chunk's head": say_raw(HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"0" * 100_000),
    "a body cut": say_raw(HEAD + b"content-length: 1000\r\n\r\n{"),
    "a length that is none": say_raw(HEAD + b"content-length: many\r\n\r\n{}"),
    "no gzip": say_raw(HEAD + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}"),
    "a body without end": say_without_end,
    "a body that unpacks to far more": say_whole(gzip.compress(bytes(80 * 2**20), 1), Content_Encoding="gzip"),
    "a redirect": say_whole(b"", 302, Location="http://127.0.0.1:1/"),
    "a redirect nowhere": say_whole(b"", 302, Location="http://[/"),
    "an odd status": say_whole(b"", 299),
    "an empty body": say_whole(b""),
    "a page": say_whole(b"<html>welcome</html>"),
    "JSON of no UTF-8": say_whole(b'{"service": "\xff"}', 200, "application/json"),
    "JSON nested without end": say_whole(b"[" * 200_000, 200, "application/json"),
    "JSON that is no object": say_json([1, 2]),
    "an empty object": say_json({}),
    "a problem that is none": say_whole(b"{", 500, "application/problem+json"),
    "a problem nested without end": say_whole(b"[" * 200_000, 500, "application/problem+json"),
    "a problem without words": say_json({}, 418, "application/problem+json"),
    "a problem of lists": say_json({"detail": [1], "code": [2]}, 404, "application/problem+json"),
    "a plan of other types": say_json({**INFO.to_json(), "outputs": 5}),
    "a plan without an id": say_json({**INFO.to_json(), "id": None}),
    "a plan whose id is a path": say_json({**INFO.to_json(), "id": "../\n?"}),
    "a plan of an unknown dtype": say_json(
        {**INFO.to_json(), "outputs": [{"name": "image", "dtype": "object", "shape": [4, 4, 3]}]}
    ),
    "a plan without images": say_json({**INFO.to_json(), "outputs": []}),
    "no datasets": say_json({**IDENTITY, "datasets": None}),
    "datasets left out": say_json({name: value for name, value in IDENTITY.items() if name != "datasets"}),
}
BY_THE_BOOK: dict[str, Answer] = {"/stream": say_stream(batch_frame(0, 4), batch_frame(4, 4), end_frame())}


def train(url: str, *, padded: bool) -> None:
    """An epoch in whole batches, by a stream; or in a padded one, by a slice."""
    with headrace.connect(url, wait=0, read_timeout=2) as client:
        client.datasets()
        for _ in client.dataset("made-up", batch_size=16 if padded else 4, tail="pad" if padded else None):
            pass


@pytest.mark.parametrize("where", ["/v1/datasets", "/v1/plans", "/stream", "/slices/0-8"])
@pytest.mark.parametrize("spoiled", SPOILED)
def test_whatever_a_server_answers_the_error_is_this_packages_own(spoiled: str, where: str) -> None:
    with hostile({**BY_THE_BOOK, where: SPOILED[spoiled]}) as server:
        with pytest.raises(headrace.HeadraceError) as error:
            train(server.url, padded=where == "/slices/0-8")
        assert "\n" not in str(error.value)
        assert server.url in str(error.value)


@pytest.mark.parametrize("name", [name for name in dir(httpx) if isinstance(getattr(httpx, name), type)])
def test_every_error_of_httpx_is_mapped(name: str) -> None:
    """But for those that say that we misused httpx."""
    kind = getattr(httpx, name)
    if not issubclass(kind, Exception) or kind.__name__ == "HTTPStatusError":
        return
    ours = {"CookieConflict", "StreamConsumed", "StreamClosed", "ResponseNotRead", "RequestNotRead", "StreamError"}
    error = kind() if name in ours - {"CookieConflict", "StreamError"} else kind("so")
    expected = kind if name in ours else headrace.ServiceError
    with (
        hostile() as server,
        headrace.connect(server.url, wait=0) as client,
        pytest.raises(expected) as raised,
        client._servers.each()[0].mapped_errors(),
    ):
        raise error
    assert raised.value is error or raised.value.__cause__ is error


@pytest.mark.parametrize("kind", [http.client.BadStatusLine, http.client.LineTooLong])
def test_errors_of_http_client_are_httpx_errors(kind: type[Exception]) -> None:
    error = as_httpx(kind("so"))
    assert isinstance(error, httpx.RemoteProtocolError)
    assert kind.__name__ in str(error)


def test_a_server_that_goes_away_in_the_middle_of_an_answer_is_named_once() -> None:
    with hostile({"/stream": say_stream(batch_frame(0, 4), cut=True)}) as server:
        with pytest.raises(headrace.StreamBroken) as error:
            train(server.url, padded=False)
        assert str(error.value) == f"epoch 0, position 4: {server.url} went away in the middle of an answer"


def test_a_real_server_that_dies_in_the_middle_of_an_epoch_is_an_error_with_the_position(server: ServerProcess) -> None:
    """Killed while a batch is on its way."""
    received = 0
    with (  # noqa: SIM117 - the inner one is about the loop alone
        ServerProcess(*server.process.args[4:-2], "--queue-batches", "1") as mine,  # type: ignore[index]
        headrace.connect(mine.url, wait=0) as client,
    ):
        with pytest.raises(headrace.StreamBroken) as error:  # noqa: PT012 - the death comes in the middle
            for _ in client.dataset("flowers", split="train", batch_size=3, prefetch=1):
                received += 3
                if received == 9:
                    mine.process.kill()
                    mine.process.wait()
    assert error.value.epoch == 0
    assert error.value.position == received < 90
    assert mine.url in str(error.value)
