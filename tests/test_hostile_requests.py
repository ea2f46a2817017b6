"""Small requests that ask for much (JSON without end, plans of terabytes) are refused at once and get nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fuzzing.bounds import soon, within
from harness import Api, ServerProcess, slice_path, stream_path

RESIZE = [{"name": "Resize", "size": [8, 8]}]


# --- requests


@pytest.fixture(scope="module")
def api(server: ServerProcess) -> Iterator[Api]:
    with Api(server) as api:
        yield api


MIB = 2**20
PLAN = {"dataset": "flowers", "split": "train"}


def with_transforms(content: bytes) -> bytes:
    return b'{"dataset": "flowers", "split": "train", "transforms": ' + content + b"}"


BODIES = {
    "lists without end": b"[" * MIB,
    "lists in lists": b"[" * (MIB // 2) + b"]" * (MIB // 2),
    "maps in maps": b'{"a":' * (MIB // 6) + b"1" + b"}" * (MIB // 6),
    "a plan in lists": with_transforms(b"[" * 500_000 + b"]" * 500_000),
    "options of some depth": with_transforms(b'[{"name": "x", "a": ' + b"[" * 900 + b"]" * 900 + b"}]"),
    "many lists": with_transforms(b"[" + b"[]," * 340_000 + b"[]]"),
    "many maps": with_transforms(b"[" + b"{}," * 340_000 + b"{}]"),
    "many keys": b"{" + b",".join(b'"%06d": 1' % number for number in range(80_000)) + b"}",
    "many numbers": with_transforms(b"[" + b"1.5," * 250_000 + b"1]"),
    "many transforms": with_transforms(b"[" + b'{"name":"RandomFlip"},' * 45_000 + b'{"name":"RandomFlip"}]'),
    "a long number": b'{"dataset": "flowers", "seed": ' + b"7" * 1_000_000 + b"}",
    "a long fraction": b'{"dataset": "flowers", "seed": 0.' + b"7" * 1_000_000 + b"}",
    "a long name": b'{"dataset": "' + b"x" * 1_000_000 + b'"}',
    "a long name of a transform": with_transforms(b'[{"name": "' + b"x" * 1_000_000 + b'"}]'),
    "a long name after the last": with_transforms(
        b'[{"name": "Normalize", "mean": 0, "std": 1}, {"name": "' + b"x" * 1_000_000 + b'"}]'
    ),
    "a string without end": b'"' + b"\\u00e9" * 170_000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_json_that_is_deep_or_huge_is_refused_soon_in_few_words_and_little_memory(
    body: bytes, api: Api, server: ServerProcess
) -> None:
    assert len(body) <= MIB
    with within(128, server), soon():
        answer = api.post("/v1/plans", content=body)
    assert answer.status_code in (404, 422)
    assert len(answer.json()["detail"]) < 500


@pytest.mark.parametrize("length", [None, 2**40, 2**62])
def test_a_body_without_end_is_refused_before_it_is_there(length: int | None, server: ServerProcess, api: Api) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with contextlib.closing(connection), within(64, server), soon():
        connection.putrequest("POST", "/v1/plans")
        connection.putheader(*(("Transfer-Encoding", "chunked") if length is None else ("Content-Length", str(length))))
        connection.endheaders()
        piece = b" " * MIB
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if length is None else piece)
        with contextlib.suppress(ConnectionError):  # it may be gone, with its answer unread
            assert connection.getresponse().status == 413
    assert api.get("/healthz").status_code == 200


# --- plans


@pytest.mark.parametrize(
    ("transforms", "found"),
    [
        ([{"name": "Resize", "size": [16384, 16384]}, *RESIZE], "Resize gives images of 16384 x 16384"),
        ([{"name": "CenterCrop", "size": 16384}, *RESIZE], "CenterCrop gives images of 16384 x 16384"),
        ([{"name": "RandomCrop", "size": [10_000, 10_001]}, *RESIZE], "at most 100,000,000 pixels"),
        ([{"name": "Resize", "size": 10_001}, {"name": "CenterCrop", "size": 8}], "more than 100,000,000 pixels"),
        ([*RESIZE, *[{"name": "RandomFlip"}] * 64], "at most 64 transforms, found 65"),
    ],
)
def test_a_plan_that_needs_huge_images_on_the_way_or_has_no_end_is_422(
    transforms: list[Any], found: str, api: Api
) -> None:
    with soon():
        answer = api.post("/v1/plans", content=json.dumps({**PLAN, "transforms": transforms}))
    assert answer.status_code == 422
    assert found in answer.json()["detail"]


def test_as_much_as_is_allowed_is_taken(api: Api) -> None:
    api.plan(**PLAN, transforms=[{"name": "CenterCrop", "size": 10_000}, *RESIZE])
    api.plan(**PLAN, transforms=[{"name": "Resize", "size": 10_000}, {"name": "CenterCrop", "size": 8}])
    api.plan(**PLAN, transforms=[*RESIZE, *[{"name": "RandomFlip"}] * 63])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("count", [1, 2**20, 2**40, 2**63 - 1])
def test_batches_of_terabytes_are_422_and_take_no_memory(
    dtype: str, count: int, api: Api, server: ServerProcess
) -> None:
    plan = api.plan(**PLAN, transforms=[{"name": "Resize", "size": [16384, 16384]}], dtype=dtype)
    for path in (stream_path(plan, count=count), slice_path(plan, 0, min(count, plan["samples"]))):
        with within(16, server), soon():
            answer = api.get(path)
        assert (answer.status_code, answer.json()["title"]) == (422, "batch too large")
        assert answer.json()["most_samples"] == 0
