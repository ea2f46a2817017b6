"""The OpenAPI document is what the server does: schemathesis asks it whatever the document allows, and what not."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from harness import LONG, Api, Record, ServerProcess, importable, write_dataset

from headrace_server.app import identity
from headrace_server.lobby import lobby

pytest.importorskip("schemathesis")
jsonschema_rs = pytest.importorskip("jsonschema_rs")

TESTS = Path(__file__).parent
TOKEN = "the-token-of-the-contract"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
TRANSFORMS = [{"name": "Resize", "size": [8, 8]}]
OPERATOR = '''
from headrace_server import transform

@transform(version=1)
def invert(image, labels, rng, *, strength=1):
    """Makes light dark."""
    return 255 - image
'''
EXAMPLES = 1000 if LONG else 40
"""Random cases for each operation, beside those at the bounds of what the document allows."""
SECONDS = 570 if LONG else 150
ALWAYS, OF_DATASET = {200, 421, 422, 503}, {200, 404, 421, 422, 503}
STATUSES = {
    "/healthz": {200, 421},
    "/readyz": {200, 421, 503},
    "/metrics": {200, 421, 503},
    "/v1/datasets": ALWAYS,
    "/v1/datasets/{name}": OF_DATASET,
    "/v1/datasets/{name}/problems": OF_DATASET,
    "/v1/plans": {*OF_DATASET, 413},
    "/v1/plans/{plan_id}/stream": {*OF_DATASET, 416},
    "/v1/plans/{plan_id}/epochs/{epoch}/slices/{start}-{stop}": {*OF_DATASET, 304, 416, 500},
}
"""What each path of an open server on loopback may answer."""
PROBES = {"/healthz", "/readyz"}
KNOWN = {"name": ["flowers"], "if-none-match": ["*"], "epoch": [1], "start": [2], "stop": [5], "count": [3]}
"""Good values of parameters, around which the cases at bounds are made."""
CONFIG = """
hooks = "contract_hooks"
request-timeout = 30.0
suppress-health-check = ["all"] # they are about how fast the machine is
headers = {{ Authorization = "Bearer {token}" }}

[dictionaries]
names = {{ values = ["flowers", "gray", "train"] }}
plan_ids = {{ values = {plan_ids} }}
positions = {{ values = [0, 1, 2, 5, 7, 8] }}

[parameters]
"path.name" = {{ dictionary = "names", probability = 0.7 }}
"path.plan_id" = {{ dictionary = "plan_ids", probability = 0.9 }}
"path.start" = {{ dictionary = "positions", probability = 0.7 }}
"path.stop" = {{ dictionary = "positions", probability = 0.7 }}

[generation]
max-examples = {examples}
deterministic = {deterministic}

[generation.dictionaries]
string = {{ dictionary = "names", probability = 0.5 }}

# 416 is as good a refusal as 422.
[checks.negative_data_rejection]
expected-statuses = ["4xx"]

# What the document cannot say: see contract_hooks.
[[operations]]
include-path = "/v1/plans"
checks.positive_data_acceptance.expected-statuses = [200, 404, 422]

[[operations]]
include-path = "/v1/plans/{{plan_id}}/stream"
checks.positive_data_acceptance.expected-statuses = [200, 404, 416, 422]

[[operations]]
include-path = "/v1/plans/{{plan_id}}/epochs/{{epoch}}/slices/{{start}}-{{stop}}"
checks.positive_data_acceptance.expected-statuses = [200, 304, 404, 416, 422]
"""


@pytest.fixture(scope="module", params=[False, True], ids=["open", "with-tokens"])
def guarded(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def served(guarded: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of 8 `flowers` and of 8 arrays, `gray`, with a transform of the operator's; open, or with a token."""
    root = tmp_path_factory.mktemp("contract")
    write_dataset(root, {"flowers/a": 8})
    (root / "gray").mkdir()
    np.save(root / "gray" / "image.npy", np.zeros((8, 4, 4), np.uint8))
    (root / "operator_module.py").write_text(OPERATOR)
    words = ["--transforms", json.dumps(TRANSFORMS), "--custom-transforms", '{"invert": "operator_module:invert"}']
    words += ["--max-batch-mb", "4"]  # whatever plan is drawn, its stream ends soon
    words += ["--tokens", TOKEN] if guarded else []
    with ServerProcess(root / "flowers", root / "gray", *words, env=importable(root)) as running:
        yield running


def seeded(api: Api) -> list[str]:
    """Ids of plans of all kinds of samples, which the server knows from now on."""
    plans = [
        api.plan("flowers", shuffle=True),
        api.plan("flowers", dtype="float16", layout="NCHW"),
        api.plan("flowers", transforms=[*TRANSFORMS, {"name": "invert"}]),
        api.plan("gray", transforms=[]),
    ]
    return [plan["id"] for plan in plans]


def schemathesis(url: str, folder: Path, plan_ids: list[str]) -> dict[str, Any]:
    """Runs it against a server, and returns its report. Fails with what it prints where it finds anything."""
    config = folder / "schemathesis.toml"
    config.write_text(
        CONFIG.format(token=TOKEN, plan_ids=json.dumps(plan_ids), examples=EXAMPLES, deterministic=json.dumps(not LONG))
    )
    known = json.dumps({"plan_id": plan_ids, **KNOWN})
    words = ["--config-file", str(config), "run", f"{url}/openapi.json", "--no-color"]
    words += ["--report", "json", "--report-json-path", str(folder / "report.json")]
    run = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", *words],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        cwd=folder,
        env={**os.environ, **importable(TESTS), "HEADRACE_EXAMPLES": known, "no_proxy": "*"},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return dict(json.loads((folder / "report.json").read_text()))


@pytest.fixture
def api(served: ServerProcess) -> Iterator[Api]:
    """With the token, which an open server ignores."""
    with Api(served) as api:
        api.headers.update(AUTHORIZED)
        yield api


def test_schemathesis_finds_no_answer_that_the_document_does_not_tell(
    served: ServerProcess, api: Api, guarded: bool, tmp_path: Path, record: Record
) -> None:
    report = schemathesis(served.url, tmp_path, seeded(api))
    assert report["complete"]
    assert report["operations"]["tested"] == len(STATUSES)
    for operation, phases in report["valid_rates"].items():
        assert sum(phase["accepted"] for phase in phases.values()), f"{operation} was never asked for anything good"
    served_of = {name: api.metric("headrace_batches_total", dataset=name) for name in ("flowers", "gray")}
    assert min(served_of.values()) >= 5, served_of
    events = [json.loads(line) for line in served.errors]
    assert not [event for event in events if event["level"] == "error"]
    count, kind = report["test_cases"]["generated"], "a guarded" if guarded else "an open"
    record(f"{count} requests to {kind} server by schemathesis: no 5xx, and no answer outside the document")


def test_the_document_tells_every_status_of_every_path(api: Api, guarded: bool) -> None:
    paths = api.get("/openapi.json").json()["paths"]
    assert paths.keys() == STATUSES.keys()
    for path, operations in paths.items():
        (operation,) = operations.values()
        of_tokens = {401, 429, 403} if 404 in STATUSES[path] else {401, 429}
        expected = STATUSES[path] | (of_tokens if guarded and path not in PROBES else set())
        assert {int(status) for status in operation["responses"]} == expected, path


def test_every_path_but_the_probes_is_refused_without_a_token_as_the_document_says(
    served: ServerProcess, api: Api, guarded: bool
) -> None:
    document = api.get("/openapi.json").json()
    assert document["components"].get("securitySchemes") == (
        {"token": {"type": "http", "scheme": "bearer"}} if guarded else None
    )
    with Api(served) as nobody:
        for path, operations in document["paths"].items():
            ((method, operation),) = operations.items()
            asked = guarded and path not in PROBES
            assert operation.get("security") == ([{"token": []}] if asked else None), path
            answer = nobody.request(method, re.sub(r"\{\w+\}", "0", path))
            assert (answer.status_code == 401) == asked, path
            if asked:
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.headers["www-authenticate"].startswith("Bearer")


def test_answers_have_no_key_that_the_document_does_not_tell(api: Api) -> None:
    """Readers are to ignore those, so the schemas allow them; here they do not."""
    document = api.get("/openapi.json").json()
    for schema in document["components"]["schemas"].values():
        schema["additionalProperties"] = False
    plans = [("/v1/plans", {"dataset": name}) for name in ("flowers", "gray")]
    gets = ["/healthz", "/readyz", "/v1/datasets", "/v1/datasets/{name}", "/v1/datasets/{name}/problems"]
    for path, body in [*plans, *((path, None) for path in gets)]:
        ((method, operation),) = document["paths"][path].items()
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        answer = api.request(method, path.replace("{name}", "flowers"), json=body).raise_for_status()
        jsonschema_rs.validate({**schema, "components": document["components"]}, answer.json())
    with pytest.raises(jsonschema_rs.ValidationError, match="later"):
        jsonschema_rs.validate({**schema, "components": document["components"]}, {**answer.json(), "later": 1})


def test_a_query_parameter_that_no_path_has_is_refused_by_name(api: Api) -> None:
    for path in ("/v1/datasets", "/v1/datasets/flowers", "/v1/datasets/flowers/problems"):
        answer = api.get(path, params={"page": 2})
        assert answer.status_code == 422
        assert answer.json()["detail"] == "there is no parameter 'page'; there are none here"


def test_a_server_that_builds_its_index_says_what_it_is_as_the_document_tells() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, lobby([listener], None):
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert httpx.get(f"{url}/healthz", trust_env=False).json() == identity()
        assert httpx.get(f"{url}/v1/datasets", trust_env=False).headers["retry-after"]
