"""A body's large chunks: received whole, in what pieces they may come, and however late their last byte is."""

from __future__ import annotations

import contextlib
import http.client
import io
import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest
from certificates import make_certificates, tls
from harness import wait_for
from hypothesis import given
from hypothesis import strategies as st

from headrace import receiving
from headrace.body import Body

Sender = Callable[[socket.socket], None]
EDGE = receiving._PATIENCE
LONG = 3 * EDGE
SIZES = st.one_of(
    st.integers(1, 20_000),
    st.sampled_from([k * EDGE + d for k in (1, 2, 3) for d in (-1, 0, 1)]),
    st.integers(100_000, LONG),
)


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The client's and the server's."""
    files = make_certificates(tmp_path_factory.mktemp("certificates"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files["server.pem"], files["server.key"])
    return tls(files), server


@contextlib.contextmanager
def answered(
    send: Sender, timeout: float = 10, contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None
) -> Iterator[tuple[Body, socket.socket]]:
    """The body of a response whose bytes `send` writes in a thread; the connection stays open behind them."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as plain:
        here, (there, _) = plain, listener.accept()

        def answer() -> None:
            nonlocal there
            with contextlib.suppress(ConnectionError):  # the reader may have left
                if contexts is not None:
                    there = contexts[1].wrap_socket(there, server_side=True)
                there.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                send(there)

        thread = threading.Thread(target=answer)
        thread.start()
        if contexts is not None:
            here = contexts[0].wrap_socket(plain, server_hostname="127.0.0.1")
        here.settimeout(timeout)
        response = http.client.HTTPResponse(here)
        response.begin()
        try:
            yield Body(response, here), here
        finally:
            response.close()
            here.close()
            thread.join()
            there.close()


def in_pieces(data: bytes, lengths: list[int]) -> Sender:
    def send(there: socket.socket) -> None:
        there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        at, k = 0, 0
        while at < len(data):
            there.sendall(data[at : at + lengths[k % len(lengths)]])
            at, k = at + lengths[k % len(lengths)], k + 1

    return send


def received(body: Body, length: int) -> bytes:
    data = bytearray(length)
    filled = 0
    while filled < length and (count := body.readinto(memoryview(data)[filled:])):
        filled += count
    return bytes(data[:filled])


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@given(
    st.lists(SIZES, min_size=1, max_size=4),
    st.lists(st.integers(1_000, 2_000_000), min_size=1, max_size=5),
    st.integers(0, 10_000),
)
def test_chunks_come_as_they_were_sent_and_nothing_more_is_waited_for(
    sizes: list[int], pieces: list[int], head: int
) -> None:
    chunks = [random.Random(n).randbytes(size) for n, size in enumerate(sizes)]
    with answered(in_pieces(b"".join(map(chunk, chunks)), pieces)) as (body, _):
        for expected in chunks:
            head = min(head, len(expected))
            assert received(body, head) == expected[:head]  # as a frame's header is, from the stream that reads ahead
            assert received(body, len(expected) - head) == expected[head:]


@pytest.mark.parametrize("size", [1, 7_000, 100_000, 2 * EDGE - 1, 2 * EDGE, 2 * EDGE + 1, LONG])
@pytest.mark.parametrize("late", [0, 1, 2])
def test_the_end_of_a_chunk_may_come_late_and_is_nothing_to_read(size: int, late: int) -> None:
    read, asked = threading.Event(), threading.Event()
    first = chunk(bytes(size))

    def send(there: socket.socket) -> None:
        there.sendall(first[: len(first) - late])
        assert read.wait(5)
        there.sendall(first[len(first) - late :])
        assert asked.wait(5)
        there.sendall(chunk(b"next"))

    with answered(send) as (body, _):
        assert received(body, size) == bytes(size)
        assert late or not body.ready()
        read.set()
        asked.set()
        assert received(body, 4) == b"next"


def test_all_is_read_that_came_with_the_headers_however_much_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python 3.14 on, a stream reads 128 KiB ahead."""
    monkeypatch.setattr(io, "DEFAULT_BUFFER_SIZE", 131_072)
    chunks = [random.Random(n).randbytes(30_000) for n in range(5)]
    sent = threading.Event()

    def send(there: socket.socket) -> None:
        there.sendall(b"".join(map(chunk, chunks)))
        sent.set()

    with answered(send) as (body, _):
        assert sent.wait(5)
        for expected in chunks:
            assert received(body, len(expected)) == expected


@pytest.mark.parametrize("length", [b"", b"-5", b"+5", b"0x5", b"1_0", b"five", b";a=b"])
def test_a_chunk_without_a_length_is_an_error(length: bytes) -> None:
    with (
        answered(lambda there: there.sendall(length + b"\r\nabcde\r\n")) as (body, _),
        pytest.raises(http.client.HTTPException, match="a chunk's length was expected"),
    ):
        received(body, 5)


def test_a_body_may_end_with_trailers_but_not_with_trailers_for_ever() -> None:
    with answered(lambda there: there.sendall(b"3;a=b\r\nabc\r\n000\r\nOne: 1\r\nTwo: 2\r\n\r\n")) as (body, here):
        assert received(body, 5) == b"abc"
        assert received(body, 1) == b""
        assert here.gettimeout() == 10
        assert here.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == bytes(16)
        assert here.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
    with (
        answered(lambda there: there.sendall(b"0\r\n" + 1000 * b"More: 1\r\n")) as (body, _),
        pytest.raises(http.client.HTTPException, match="more than 100 lines"),
    ):
        received(body, 1)


def test_a_chunk_that_another_follows_too_soon_is_an_error() -> None:
    with answered(lambda there: there.sendall(b"3\r\nabcXY\r\n")) as (body, _):
        assert received(body, 3) == b"abc"
        with pytest.raises(http.client.HTTPException, match="a chunk's end was expected, found b'XY'"):
            received(body, 1)


@pytest.mark.parametrize("secure", [False, True])
def test_what_comes_next_is_ready_once_it_is_there(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], secure: bool
) -> None:
    first, second = chunk(bytes(3_000_000)), chunk(bytes(290_000))
    sent, more = threading.Event(), threading.Event()

    def send(there: socket.socket) -> None:
        there.sendall(first + second)
        sent.set()
        assert more.wait(5)
        there.sendall(chunk(b"last"))

    with answered(send, contexts=contexts if secure else None) as (body, _):
        assert received(body, 3_000_000) == bytes(3_000_000)
        assert sent.wait(5)
        assert body.ready()
        assert received(body, 290_000) == bytes(290_000)
        assert not body.ready()
        more.set()
        wait_for(body.ready, "the last chunk")
        assert received(body, 4) == b"last"
        assert not body.ready()


@pytest.mark.parametrize("sent", [0, 1, 100_000, EDGE + 5, 2 * EDGE + 5])
def test_what_came_before_a_silence_is_received_and_then_the_silence_ends_at_the_timeout(sent: int) -> None:
    data = random.Random(sent).randbytes(sent)
    with answered(lambda there: there.sendall(b"%x\r\n" % LONG + data), timeout=0.2) as (body, _):
        assert received(body, sent) == data
        with pytest.raises(TimeoutError):
            received(body, LONG - sent)


@pytest.mark.parametrize("sent", [100_000, EDGE, LONG - 100_000])
def test_a_connection_that_ends_within_a_chunk_is_an_error(sent: int) -> None:
    def send(there: socket.socket) -> None:
        there.sendall(b"%x\r\n" % LONG + bytes(sent))
        there.shutdown(socket.SHUT_WR)

    with answered(send) as (body, _), pytest.raises(http.client.IncompleteRead):
        received(body, LONG)


def test_ending_the_connection_wakes_who_waits_for_the_whole() -> None:
    sent, ended = threading.Event(), threading.Event()

    def send(there: socket.socket) -> None:
        there.sendall(b"%x\r\n" % LONG + bytes(EDGE))
        sent.set()

    with answered(send, timeout=60) as (body, here):

        def wait() -> None:
            with contextlib.suppress(http.client.IncompleteRead, ConnectionError):
                received(body, LONG)
            ended.set()

        thread = threading.Thread(target=wait)
        thread.start()
        assert sent.wait(5)
        here.shutdown(socket.SHUT_RDWR)
        assert ended.wait(5)
        thread.join()
