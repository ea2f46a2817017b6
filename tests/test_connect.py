"""Connecting: to nothing, to the wrong thing, to one that comes later, through a proxy, and over TLS."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import ServerProcess, wait_for
from hostile import (
    IDENTITY,
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

STREAM: dict[str, Answer] = {"/stream": say_stream(batch_frame(0, 4), batch_frame(4, 4), end_frame())}
FLOWERS = '[{"name": "Resize", "size": [16, 16]}]'


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def seconds_of(error: type[Exception], url: str, match: str | None = None, **options: object) -> float:
    """How long `connect` takes to raise `error`."""
    began = time.monotonic()
    with pytest.raises(error, match=match):
        headrace.connect(url, **options)  # type: ignore[arg-type]
    return time.monotonic() - began


def test_nothing_there_fails_at_once_where_nobody_wants_to_wait() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert seconds_of(headrace.ConnectionFailed, url, rf"{url}.*headrace serve", wait=0) < 1


def test_nothing_there_fails_after_the_wait_and_says_so_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with caplog.at_level(logging.WARNING, "headrace"):
        assert 1 < seconds_of(headrace.ConnectionFailed, url, wait=2) < 4
    assert len(caplog.records) == 1
    assert url in caplog.text


def test_a_client_waits_for_a_server_that_starts_after_it(flowers: Path) -> None:
    port = free_port()
    found: list[int] = []

    def train() -> None:
        with headrace.connect(f"http://127.0.0.1:{port}", wait=30) as client:
            found.extend(len(batch["key"]) for batch in client.dataset("flowers", split="val", batch_size=10))

    clients = [threading.Thread(target=train) for _ in range(2)]
    for client in clients:
        client.start()
    with ServerProcess(flowers, "--transforms", FLOWERS, port=port):
        for client in clients:
            client.join(30)
    assert sorted(found) == [3, 3, 10, 10]


def test_a_server_that_says_503_is_waited_for() -> None:
    asked: list[float] = []

    def starting(handler: Handler) -> None:
        asked.append(time.monotonic())
        say_json({}, 503)(handler) if len(asked) < 3 else say_json(IDENTITY)(handler)

    with hostile({"/v1/datasets": starting}) as server, headrace.connect(server.url, wait=10):
        assert len(asked) == 3
    with hostile({"/v1/datasets": say_json({"detail": "draining"}, 503, "application/problem+json")}) as server:
        assert seconds_of(headrace.ConnectionFailed, server.url, "draining", wait=0) < 1


WRONG: dict[str, tuple[Answer, type[Exception], str]] = {
    "a web site": (say_whole(b"<h1>hello</h1>"), headrace.NotHeadrace, "no headrace server"),
    "a page that is not there": (say_whole(b"", 404), headrace.NotHeadrace, "404"),
    "a redirect": (say_whole(b"", 301, Location="https://elsewhere/"), headrace.NotHeadrace, "301"),
    "another API": (say_json({"datasets": []}), headrace.NotHeadrace, "no headrace server"),
    "another API's list": (say_json([]), headrace.NotHeadrace, "no headrace server"),
    "another protocol": (say_raw(b"220 mail.example.org ESMTP\r\n"), headrace.NotHeadrace, "no headrace server"),
    "an older release": (
        say_json({**IDENTITY, "protocol": 0, "version": "0.0.1"}),
        headrace.VersionMismatch,
        r"0\.0\.1 with protocol 0; this client .* with protocol 1",
    ),
    "no token": (
        say_json({"detail": "a token is needed"}, 401, "application/problem+json"),
        headrace.Unauthorized,
        "401.*a token is needed",
    ),
    "a wrong token": (say_whole(b"", 403), headrace.Unauthorized, "403.*token"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_headrace_server_fails_soon_however_long_one_would_wait(what: str) -> None:
    answer, error, words = WRONG[what]
    with hostile({"/v1/datasets": answer}) as server:
        assert seconds_of(error, server.url, rf"{server.url}.*{words}", wait=60) < 5
        assert len(server.seen) == 3
        assert seconds_of(error, server.url, rf"{server.url}.*{words}", wait=0) < 5
        assert len(server.seen) == 4


@pytest.mark.parametrize("what", WRONG)
def test_what_comes_damaged_once_is_asked_for_again(what: str) -> None:
    asked: list[None] = []

    def damaged_once(handler: Handler) -> None:
        asked.append(None)
        (WRONG[what][0] if len(asked) == 1 else say_json(IDENTITY))(handler)

    with hostile({"/v1/datasets": damaged_once}) as server, headrace.connect(server.url):
        assert len(asked) == 2


@pytest.mark.parametrize(
    "url",
    [
        "",
        "storage:8000",
        "storage",
        "ftp://storage",
        "http://",
        "http://:8000",
        "http://[::1",
        "http://storage:port",
        "http://storage:99999",
        "http://sto rage\n",
        "//storage",
    ],
)
def test_what_is_no_url_is_refused_at_once(url: str) -> None:
    assert seconds_of(headrace.UsageError, url, "URL|url") < 1


def test_no_url_at_all_is_refused() -> None:
    with pytest.raises(headrace.UsageError, match="empty list"):
        headrace.connect([])


def test_a_host_that_is_not_known_is_named() -> None:
    with pytest.raises(headrace.ConnectionFailed, match=r"no-such-host\.invalid"):
        headrace.connect("http://no-such-host.invalid:8000", wait=0)


def test_the_token_is_sent_with_every_request() -> None:
    tokens = []

    def listening(answer: Answer) -> Answer:
        def heard(handler: Handler) -> None:
            tokens.append(handler.headers["Authorization"])
            answer(handler)

        return heard

    answers = {"/v1/datasets": listening(say_json(IDENTITY)), "/stream": listening(STREAM["/stream"])}
    with hostile(answers) as server, headrace.connect(server.url, token="s3cret", wait=0) as client:
        list(client.dataset("made-up", batch_size=4))
    assert tokens == ["Bearer s3cret"] * 2


def test_a_url_may_have_a_path_in_front() -> None:
    answers: dict[str, Answer] = {"/prefix/v1/datasets": say_json(IDENTITY), "/v1/datasets": say_whole(b"", 404)}
    with hostile(answers) as server:
        headrace.connect(f"{server.url}/prefix/", wait=0).close()


@pytest.mark.parametrize("content_type", ["text/html", "application/problem+json"])
def test_where_nothing_is_below_a_urls_path_the_path_is_named(content_type: str) -> None:
    with hostile({"/prefix/v1/datasets": say_json({"detail": "Not Found"}, 404, content_type)}) as server:
        seconds_of(headrace.NotHeadrace, f"{server.url}/prefix", "has the path /prefix.*without the path", wait=60)


def test_a_port_that_is_silent_is_told_apart_from_one_where_nothing_is() -> None:
    with hostile({"/v1/datasets": Handler.wait}) as server:
        words = rf"accepts connections at {server.url} but does not answer like a headrace server"
        assert seconds_of(headrace.ConnectionFailed, server.url, words, wait=0, read_timeout=0.2) < 5


def test_a_silent_port_is_not_waited_for_as_long_as_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.endpoint._IDENTITY_SECONDS", 0.2)
    with hostile({"/v1/datasets": Handler.wait}) as server:
        assert seconds_of(headrace.ConnectionFailed, server.url, r"0\.2 s", wait=0, read_timeout=30) < 5


def test_ipv6_is_spoken() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on loopback")
    with hostile(STREAM, host="::1") as server, headrace.connect(server.url, wait=0) as client:
        assert len(list(client.dataset("made-up", batch_size=4))) == 2


@contextlib.contextmanager
def proxy() -> Iterator[tuple[str, list[str]]]:
    """A real forwarding proxy; gives its URL and the list of what went through it."""
    forwarded: list[str] = []

    def forward(handler: Handler) -> None:
        forwarded.append(handler.path)
        host = handler.headers["Host"].partition(":")
        path = handler.path.partition(handler.headers["Host"])[2]
        with socket.create_connection((host[0], int(host[2]))) as upstream:
            lines = [f"{name}: {value}" for name, value in handler.headers.items() if name.lower() != "connection"]
            head = "\r\n".join([f"{handler.command} {path} HTTP/1.1", *lines, "Connection: close", "", ""])
            upstream.sendall(head.encode() + handler.body)
            while data := upstream.recv(65536):
                handler.wfile.write(data)
        handler.close_connection = True

    with hostile({"": forward, "/v1/datasets": forward, "/v1/plans": forward}) as server:
        yield server.url, forwarded


@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_used(
    variable: str, monkeypatch: pytest.MonkeyPatch, server: ServerProcess
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with proxy() as (url, forwarded):
        monkeypatch.setenv(variable, url)
        with headrace.connect(server.url, wait=0) as client:
            train = client.dataset("flowers", split="train", batch_size=32)
            keys = [key for batch in train for key in batch["key"]]
            for _ in train:
                break
    assert len(keys) == len(set(keys)) == 90
    assert len(forwarded) == 4
    assert all(path.startswith(server.url) for path in forwarded)


def test_a_proxy_is_not_used_for_hosts_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with hostile(STREAM) as server, headrace.connect(server.url, wait=0) as client:
        assert len(list(client.dataset("made-up", batch_size=4))) == 2


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=headrace"]
    try:
        subprocess.run(
            [*words, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
            check=True,
            capture_output=True,
        )
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot make a certificate: {error}")
    return cert, key


@contextlib.contextmanager
def over_tls(certificate: tuple[str, str]) -> Iterator[str]:
    with hostile(STREAM) as server:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
        server.secure(context)
        yield server.url.replace("http:", "https:")


def test_a_server_whose_certificate_is_trusted_is_read_over_tls(certificate: tuple[str, str]) -> None:
    with over_tls(certificate) as url, headrace.connect(url, ca=certificate[0], wait=0) as client:
        assert len(list(client.dataset("made-up", batch_size=4))) == 2


def test_a_certificate_that_is_not_trusted_fails_at_once(certificate: tuple[str, str]) -> None:
    with over_tls(certificate) as url:
        assert seconds_of(headrace.ConnectionFailed, url, "certificate", wait=60) < 5


def test_https_where_none_is_spoken_fails_at_once() -> None:
    with hostile() as server:
        url = server.url.replace("http:", "https:")
        assert seconds_of(headrace.ConnectionFailed, url, "https", wait=60) < 5


def test_certificates_that_cannot_be_loaded_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    for missing in ("gone.pem", "empty.pem"):
        with pytest.raises(headrace.UsageError, match=missing):
            headrace.connect("https://127.0.0.1:1", ca=str(tmp_path / missing), wait=0)


def test_a_closed_client_leaves_no_connection_open() -> None:
    with hostile(STREAM) as server:
        client = headrace.connect(server.url, wait=0)
        list(client.dataset("made-up", batch_size=4))
        client.close()
        wait_for(lambda: all(connection.fileno() == -1 for connection in server.connections), "the connections to end")
