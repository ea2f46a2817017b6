"""Who may read: tokens, their datasets, TLS, the Host header, and what a server refuses to start with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from certificates import tls
from harness import Api, ServerProcess, run_headrace, slice_path, stream_path, write_dataset

import headrace

ALL, SOME, OLD = "all-of-them-0123456789", "only-birds-0123456789", "the-old-one-0123456789"
SIZE = ("--transforms", '[{"name": "Resize", "size": [8, 8]}]')


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("access")
    return [write_dataset(root / name, {"a": 4}) for name in ("birds-1", "birds-2", "people")]


@pytest.fixture(scope="module")
def guarded(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"# who may read\n{ALL}\n\n{SOME} birds-* fish\n")
    with ServerProcess(*folders, *SIZE, "--tokens-file", tokens, env={"HEADRACE_TOKENS": OLD}) as running:
        yield running


def said(server: ServerProcess, path: str, token: str | None = None, **more: Any) -> httpx.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with Api(server) as api:
        return api.get(path, headers={**headers, **more})


@pytest.mark.parametrize("path", ["/v1/datasets", "/v1/datasets/people", "/metrics", "/docs", "/openapi.json", "/none"])
def test_every_route_asks(guarded: ServerProcess, path: str) -> None:
    assert said(guarded, path).status_code == 401
    assert said(guarded, path, "wrong").status_code in (401, 429)
    assert said(guarded, path).headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_need_no_token(guarded: ServerProcess, path: str) -> None:
    assert said(guarded, path).status_code == 200


@pytest.mark.parametrize("token", [ALL, OLD])
def test_any_of_several_tokens_will_do(guarded: ServerProcess, token: str) -> None:
    with headrace.connect(guarded.url, token=token) as client:
        assert len(client.datasets()) == 3
        assert len(list(client.dataset("people", batch_size=4))) == 1


def test_a_token_is_for_the_datasets_of_its_patterns(guarded: ServerProcess) -> None:
    with headrace.connect(guarded.url, token=SOME) as client:
        assert [dataset["name"] for dataset in client.datasets()] == ["birds-1", "birds-2"]
        assert len(list(client.dataset("birds-2", batch_size=4))) == 1
        for name in ("people", "none"):
            with pytest.raises(headrace.Unauthorized, match="not for"):
                client.dataset(name, batch_size=4)


def test_slices_and_streams_check_the_rights_to_their_dataset(guarded: ServerProcess) -> None:
    with Api(guarded) as api:
        headers = {"Authorization": f"Bearer {ALL}"}
        plan = api.post("/v1/plans", json={"dataset": "people"}, headers=headers).json()
    for path in (slice_path(plan, 0, 2), stream_path(plan, count=2), "/v1/datasets/people/problems"):
        assert said(guarded, path, SOME).status_code == 403
        answer = said(guarded, path, ALL)
        assert answer.status_code == 200
        assert "private" in answer.headers["cache-control"]


def test_wrong_tokens_are_not_looked_at_for_a_while(folders: list[Path]) -> None:
    with ServerProcess(*folders, *SIZE, "--tokens", ALL) as server:
        found = [said(server, "/v1/datasets", f"guess-{i}").status_code for i in range(25)]
        assert found[:20] == [401] * 20
        assert set(found[20:]) == {429}
        assert int(said(server, "/v1/datasets", ALL).headers["retry-after"]) > 0
        assert said(server, "/readyz").status_code == 200


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one of the processes may take all connections")
def test_several_processes_look_at_no_more_of_them(folders: list[Path]) -> None:
    """Each guess comes over a connection of its own, to whichever process."""
    with ServerProcess(*folders, *SIZE, "--tokens", ALL, "--processes", "4") as server:
        found = [said(server, "/v1/datasets", f"guess-{i}").status_code for i in range(100)]
    assert 5 <= found.count(401) <= 20
    assert found[-1] == 429


def test_no_token_is_ever_logged(folders: list[Path]) -> None:
    server = ServerProcess(*folders, *SIZE, "--tokens", ALL, "--log-level", "debug")
    with server:
        said(server, "/v1/datasets", ALL)
        said(server, "/v1/datasets", "a-wrong-token-of-somebody")
    printed = "".join(server.lines + server.errors)
    assert ALL not in printed
    assert "a-wrong-token" not in printed


def test_pages_of_other_names_cannot_reach_loopback(server: ServerProcess) -> None:
    assert said(server, "/v1/datasets", Host="evil.example:8000").status_code == 421
    for host in ("localhost", f"127.0.0.1:{server.port}", "[::1]:80"):
        assert said(server, "/v1/datasets", Host=host).status_code == 200


@pytest.mark.parametrize(
    ("words", "said_so"),
    [
        (["--host", "0.0.0.0"], "--tokens-file"),
        (["--tokens", "short"], "16"),
        (["--tls-cert", "nowhere.pem"], "together"),
        (["--tls-client-ca", "ca.pem"], "tls_cert"),
        (["--tokens-file", "nowhere"], "nowhere"),
    ],
)
def test_what_would_be_unsafe_does_not_start(folders: list[Path], words: list[str], said_so: str) -> None:
    run = run_headrace("serve", folders[0], "--port", "0", *words)
    assert run.returncode == 1
    assert said_so in run.stderr
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize("mutual", [False, True], ids=["tls", "mutual"])
def test_tls_gives_the_same_batches(folders: list[Path], certificates: dict[str, Path], mutual: bool) -> None:
    words = ["--tls-cert", certificates["server.pem"], "--tls-key", certificates["server.key"]]
    if mutual:
        words += ["--tls-client-ca", certificates["ca.pem"]]
    ca = str(certificates["ca.pem"])
    pair = (str(certificates["client.pem"]), str(certificates["client.key"]))
    with ServerProcess(folders[0], *SIZE) as plain, headrace.connect(plain.url) as client:
        expected = [batch["image"].copy() for batch in client.dataset("birds-1", batch_size=3)]
    with ServerProcess(folders[0], *SIZE, *words) as server:
        assert server.url.startswith("https://")
        with headrace.connect(server.url, ca=ca, cert=pair if mutual else None) as client:
            found = [batch["image"].copy() for batch in client.dataset("birds-1", batch_size=3)]
        assert [image.tobytes() for image in found] == [image.tobytes() for image in expected]
        with pytest.raises(headrace.ConnectionFailed):
            headrace.connect(server.url, wait=0)  # an authority that nobody knows
        if mutual:
            with pytest.raises(headrace.ConnectionFailed):
                headrace.connect(server.url, wait=0, ca=ca)
        with httpx.Client(verify=tls(certificates), trust_env=False) as http:  # what needed a certificate is private
            said = http.get(f"{server.url}/v1/datasets").headers.get("cache-control", "")
            assert said.startswith("private") == mutual
