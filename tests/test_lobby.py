"""While the index is being built, the server is alive and not ready, and clients wait for it."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest
from certificates import tls
from harness import ServerProcess, importable, wait_for
from test_connect import free_port

import headrace

SLOW = """
import pathlib, time
from headrace_server.transforms.custom import transform
while not pathlib.Path({gate!r}).exists():
    time.sleep(0.01)
@transform(version=1)
def never(image, labels, rng):
    return image
"""


def answers(http: httpx.Client) -> bool:
    try:
        return http.get("/healthz").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "mutual TLS"])
def test_a_server_that_builds_its_index_says_so_and_clients_wait(
    flowers: Path, tmp_path: Path, certificates: dict[str, Path], secure: bool
) -> None:
    gate, port = tmp_path / "gate", free_port()
    (tmp_path / "slow_module.py").write_text(SLOW.format(gate=str(gate)))
    words = (flowers, "--transforms", '[{"name": "Resize", "size": [8, 8]}]', "--index-dir", tmp_path / "index")
    custom = ("--custom-transforms", '{"never": "slow_module:never"}')
    url, got = f"{'https' if secure else 'http'}://127.0.0.1:{port}", []
    files = {name: str(path) for name, path in certificates.items()}
    secured = ("--tls-cert", files["server.pem"], "--tls-key", files["server.key"], "--tls-client-ca", files["ca.pem"])
    server = ServerProcess(*words, *custom, *(secured if secure else ()), port=port, env=importable(tmp_path))
    http = httpx.Client(base_url=url, verify=tls(certificates), trust_env=False)
    own = {"ca": files["ca.pem"], "cert": (files["client.pem"], files["client.key"])} if secure else {}
    try:
        wait_for(lambda: answers(http), "the server to be alive")
        for path in ("/readyz", "/v1/datasets", "/v1/plans/x/stream"):
            answer = http.get(path)
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert "index" in answer.json()["detail"]

        def train() -> None:
            with headrace.connect(url, wait=30, **own) as client:
                got.extend(client.dataset("flowers", split="val", batch_size=13))

        training = threading.Thread(target=train)
        training.start()
        assert not got
        gate.touch()
        with server:
            training.join(30)
            assert len(got) == 1
            assert http.get("/readyz").status_code == 200
    finally:
        http.close()
        server.stop()
