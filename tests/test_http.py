"""Every route over real HTTP, and what a request that cannot be answered gets."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import numpy as np
import pytest
from harness import DEADLINE, Api, ServerProcess, frames_of, slice_path, stream_path, wait_for
from hostile import hostile, plain_frame, say_stream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from headrace_proto import arrays, frame, messages
from headrace_proto.transforms import BUILT_IN
from headrace_proto.version import __version__

N = 90
"""Samples in the split `train` of `flowers`."""
ONE = 16 * 16 * 3
"""Bytes of an image of the server's default transforms."""
PLAN = {"dataset": "flowers", "split": "train"}


@pytest.fixture(scope="module")
def api(server: ServerProcess) -> Iterator[Api]:
    with Api(server) as api:
        yield api


@pytest.fixture(scope="module")
def plan(api: Api) -> dict[str, Any]:
    return api.plan(**PLAN)


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document of a refusal, checked for what RFC 9457 asks."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = dict(answer.json())
    assert body["type"] == "about:blank"
    assert body["status"] == status
    assert body["title"]
    assert "\n" not in body["detail"]
    return body


# What is there


def test_health_and_readiness_say_what_this_is(api: Api) -> None:
    for path in ("/healthz", "/readyz"):
        body = api.get(path).raise_for_status().json()
        assert (body["service"], body["protocol"], body["version"]) == ("headrace", frame.PROTOCOL, __version__)
        assert "pillow-" in body["engine"]


def test_the_list_of_datasets_says_what_is_served(api: Api) -> None:
    body = api.get("/v1/datasets").raise_for_status().json()
    assert (body["service"], body["protocol"]) == ("headrace", frame.PROTOCOL)
    (dataset,) = body["datasets"]
    assert api.get("/v1/datasets/flowers").raise_for_status().json() == dataset
    assert re.fullmatch("[0-9a-f]{64}", dataset.pop("fingerprint"))
    assert dataset == {
        "name": "flowers",
        "splits": {"train": {"samples": 90, "labels": True}, "val": {"samples": 13, "labels": True}},
        "classes": ["daisy", "rose"],
        "fields": ["image", "label", "key"],
        "transforms": [{"name": "Resize", "size": [16, 16]}],
        "on_error": "replace",
        "replace_budget": 0.01,
        "skipped": {},
    }


def test_a_plan_is_answered_with_its_id_and_what_its_batches_are(api: Api, plan: dict[str, Any]) -> None:
    assert plan["samples"] == N
    assert plan["outputs"][0] == {"name": "image", "dtype": "uint8", "shape": [16, 16, 3]}
    assert plan["plan"] == {**PLAN, "transforms": [{"name": "Resize", "size": [16, 16]}]}
    assert plan["engine"] == api.get("/healthz").json()["engine"]


def test_a_slice_is_one_frame_whose_pixels_labels_and_keys_are_those_of_the_files(
    api: Api, plan: dict[str, Any], flowers: Path
) -> None:
    full = api.plan(**PLAN, transforms=[{"name": "CenterCrop", "size": [24, 32]}])
    ((header, payload),) = frames_of(api.slice(full, 51, 56))
    assert (header["kind"], header["plan"], header["engine"]) == ("batch", full["id"], full["engine"])
    assert (header["epoch"], header["start"], header["count"]) == (0, 51, 5)
    keys = [f"train/daisy/{i:05}.png" for i in (51, 52)] + [f"train/rose/{i:05}.png" for i in range(3)]
    assert header["strings"] == {"key": keys}
    columns = arrays.views(header["tensors"], payload)
    assert columns["label"].tolist() == [0, 0, 1, 1, 1]
    for image, key in zip(columns["image"], keys, strict=True):
        assert np.array_equal(image, np.asarray(Image.open(flowers / key)))
    assert "escaped" not in header
    assert "replaced" not in header


def test_a_slice_is_the_same_bytes_every_time_and_may_be_kept_for_ever(api: Api, plan: dict[str, Any]) -> None:
    path = slice_path(plan, 3, 9, epoch=2)
    first, second = api.get(path), api.get(path)
    assert first.content == second.content
    assert first.headers["content-length"] == str(len(first.content))
    assert first.headers["content-type"] == "application/vnd.headrace.frames"
    assert first.headers["etag"] == second.headers["etag"]
    assert "immutable" in first.headers["cache-control"]
    assert "max-age=31536000" in first.headers["cache-control"]


def test_a_slice_that_a_cache_has_is_not_sent_again(api: Api, plan: dict[str, Any]) -> None:
    path = slice_path(plan, 3, 9)
    etag = api.get(path).headers["etag"]
    for kept in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        answer = api.get(path, headers={"If-None-Match": kept})
        assert answer.status_code == 304, kept
        assert answer.content == b""
        assert answer.headers["etag"] == etag
        assert "immutable" in answer.headers["cache-control"]
    assert api.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    assert api.get(slice_path(plan, 3, 9, epoch=1), headers={"If-None-Match": etag}).status_code == 200


def test_every_address_has_an_etag_of_its_own(api: Api, plan: dict[str, Any]) -> None:
    other = api.plan(**PLAN, seed=1)
    paths = [slice_path(plan, 0, 2), slice_path(plan, 0, 3), slice_path(plan, 1, 3), slice_path(plan, 0, 2, epoch=1)]
    paths += [slice_path(other, 0, 2), slice_path(plan, 0, 2, checksum="crc32")]
    assert len({api.get(path).headers["etag"] for path in paths}) == len(paths)


def documented_reader(url: str) -> str:
    """The first stream of the protocol's page, for a server of the tests."""
    page = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    return str(code).replace("http://127.0.0.1:8000", url)


def test_the_reader_in_the_documentation_reads_a_stream(
    server: ServerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(documented_reader(server.url).replace('"flowers"}', '"flowers", "split": "val"}'), {})
    batch, end = capsys.readouterr().out.splitlines()
    assert "'count': 13" in batch
    assert batch.endswith(f" {13 * ONE // 64 * 64 + 13 * 8}")
    assert "'reason': 'complete'" in end


def test_the_reader_in_the_documentation_stops_at_an_error() -> None:
    failure = plain_frame(messages.Failure("sample-unavailable", "cat/1.png is gone", 0, 5, "cat/1.png", False))
    with hostile({"/stream": say_stream(failure)}) as server, pytest.raises(SystemExit, match=r"cat/1\.png is gone"):
        exec(documented_reader(server.url), {})


def test_a_stream_has_no_length_and_is_not_kept(api: Api, plan: dict[str, Any]) -> None:
    answer = api.get(stream_path(plan, count=32)).raise_for_status()
    assert answer.headers["content-type"] == "application/vnd.headrace.frames"
    assert answer.headers["cache-control"] == "no-store"
    assert "content-length" not in answer.headers
    assert [header["kind"] for header, _ in frames_of(answer.content)] == ["batch"] * 3 + ["end"]


def test_the_server_does_not_compress_unless_it_is_told_to(api: Api, plan: dict[str, Any]) -> None:
    answer = api.get(slice_path(plan, 0, 9), headers={"Accept-Encoding": "gzip, br, zstd"})
    assert "content-encoding" not in answer.headers


# The pages


def test_the_page_loads_nothing_from_elsewhere_and_the_server_has_all_that_it_loads(api: Api) -> None:
    page = api.get("/docs").raise_for_status()
    assert page.headers["content-type"].startswith("text/html")
    loaded = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page.text)
    loaded += re.findall(r"""url: ["']([^"']+)["']""", page.text)
    assert len(loaded) >= 4
    for target in loaded:
        if target.startswith("data:"):
            continue
        assert target.startswith("/"), f"{target} is on another server"
        answer = api.get(urljoin("/docs", target)).raise_for_status()
        assert len(answer.content) > 1000
        if target.endswith(".css"):
            assert not re.findall(r"url\(['\"]?(?:https?:)?//", answer.text)


def test_the_openapi_document_names_every_route_transform_and_field(api: Api) -> None:
    document = api.get("/openapi.json").raise_for_status().json()
    paths = {
        "/healthz": "get",
        "/readyz": "get",
        "/metrics": "get",
        "/v1/datasets": "get",
        "/v1/datasets/{name}": "get",
        "/v1/datasets/{name}/problems": "get",
        "/v1/plans": "post",
        "/v1/plans/{plan_id}/stream": "get",
        "/v1/plans/{plan_id}/epochs/{epoch}/slices/{start}-{stop}": "get",
    }
    assert {path: next(iter(methods)) for path, methods in document["paths"].items()} == paths
    body = document["paths"]["/v1/plans"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"dataset", "split", "transforms", "shuffle", "seed", "dtype", "layout"}
    shown = {
        item["properties"]["name"]["const"]: item
        for item in body["properties"]["transforms"]["anyOf"][0]["items"]["oneOf"]
    }
    assert set(shown) == set(BUILT_IN)
    for name, kind in BUILT_IN.items():
        assert set(shown[name]["properties"]) == {"name", *(item.name for item in dataclasses.fields(kind))}, name
    stream = document["paths"]["/v1/plans/{plan_id}/stream"]["get"]
    assert list(stream["responses"]["200"]["content"]) == ["application/vnd.headrace.frames"]
    names = {"plan_id", "epoch", "count", "start", "stride", "stop", "checksum"}
    assert {item["name"] for item in stream["parameters"]} == names


def test_the_openapi_document_refers_to_nothing_that_it_does_not_have(api: Api) -> None:
    document = api.get("/openapi.json").json()
    assert "application/problem+json" in json.dumps(document)
    assert "HTTPValidationError" not in json.dumps(document)
    for reference in re.findall(r'"\$ref": "([^"]+)"', json.dumps(document)):
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_metrics_are_prometheus_text_and_count_what_was_sent(api: Api) -> None:
    plan = api.plan("flowers", split="val")
    names = ("headrace_batches_total", "headrace_samples_total", "headrace_sent_bytes_total", "headrace_replaced_total")
    before = [api.metric(name, dataset="flowers") for name in names]
    stream = api.get(stream_path(plan, count=5)).raise_for_status().content
    one = api.slice(plan, 0, 4)
    expected = [old + new for old, new in zip(before, (4, 17, len(stream) + len(one), 0), strict=True)]
    wait_for(lambda: [api.metric(name, dataset="flowers") for name in names] == expected, f"counters to say {expected}")
    assert api.metric("headrace_streams") == 0
    assert api.metric("headrace_memory_used_bytes") == 0
    assert api.metric("headrace_memory_bytes") == 2**30


def test_every_metric_has_a_help_text_and_a_type(api: Api) -> None:
    answer = api.get("/metrics").raise_for_status()
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(answer.text))
    assert {family.type for family in families} == {"counter", "gauge"}
    assert all(family.documentation for family in families)
    assert all(family.name.startswith("headrace_") for family in families)


# Refusals


def test_a_dataset_that_is_not_there_is_404_naming_those_that_are(api: Api) -> None:
    for answer in (api.get("/v1/datasets/flower"), api.post("/v1/plans", json={"dataset": "flower"})):
        detail = problem(answer, 404)["detail"]
        assert "'flower'" in detail
        assert "served here: flowers" in detail


@pytest.mark.parametrize(
    ("change", "status", "named"),
    [
        ({"split": "test"}, 404, ["'test'", "train", "val"]),
        ({"split": None}, 404, ["train", "val"]),
        ({"transforms": [{"name": "Blur"}]}, 422, ["'Blur'", "Resize", "Normalize"]),
        ({"transforms": [{"name": "RandomFlip", "q": 1}]}, 422, ["'q'", "p", "axis"]),
        ({"transforms": [{"name": "Resize", "size": 8}]}, 422, ["add CenterCrop(224)"]),
        ({"colour": 1}, 422, ["'colour'", "layout"]),
        ({"seed": 2**63}, 422, ["seed", str(2**63 - 1)]),
        ({"layout": "CHW"}, 422, ["'CHW'", "'NCHW'"]),
    ],
    ids=str,
)
def test_a_plan_that_cannot_be_served_is_refused_naming_what_exists(
    change: dict[str, Any], status: int, named: list[str], api: Api
) -> None:
    detail = problem(api.post("/v1/plans", json={**PLAN, **change}), status)["detail"]
    assert all(word in detail for word in named), detail


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"\xff\xfe",
        b"[1]",
        b"null",
        b'{"dataset": "flowers", "split": "train", "seed": NaN}',
        b'{"dataset": "flowers", "split": "train", "seed": 1e999}',
        b'{"dataset": "flowers", "split": "train", "seed": ' + b"1" * 5000 + b"}",
        b'{"dataset": "\\ud800"}',
        b'{"dataset": {"a": 1}}',
        b"[" * 200_000,
        b'{"dataset": "flowers", "transforms": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"dataset": "flowers", "split": "train", "transforms": [{"name": "Resize", "size": [1e400, -1]}]}',
        b'{"dataset": "flowers", "split": "train", "transforms": [{"name": "Resize", "size": 8}], "\\u0000": 1}',
    ],
    ids=lambda body: repr(body[:40]),
)
def test_a_body_that_is_no_plan_is_422(body: bytes, api: Api) -> None:
    assert len(problem(api.post("/v1/plans", content=body), 422)["detail"]) < 500


def test_a_body_that_is_too_large_is_413_with_the_bound(api: Api) -> None:
    assert "1048576" in problem(api.post("/v1/plans", content=b" " * (2**20 + 1)), 413)["detail"]
    assert problem(api.post("/v1/plans", content=b" " * 2**20), 422)["title"] == "not JSON"


def test_an_id_that_the_server_does_not_know_says_so_by_its_code(api: Api) -> None:
    for path in (slice_path({"id": "0" * 32}, 0, 1), stream_path({"id": "0" * 32}, count=1)):
        body = problem(api.get(path), 404)
        assert body["code"] == "unknown-plan"
        assert "POST it to /v1/plans" in body["detail"]


@pytest.mark.parametrize(("start", "stop"), [(0, N + 1), (N, N + 5), (10**12, 10**12 + 1), (-5, 3), (0, 10**30)])
def test_a_slice_beyond_the_epoch_is_416_with_the_bound(start: int, stop: int, api: Api, plan: dict[str, Any]) -> None:
    body = problem(api.get(slice_path(plan, start, stop)), 416)
    assert body["samples"] == N
    assert f"0 to {N}" in body["detail"]


@pytest.mark.parametrize(
    "query", [{"start": N + 1}, {"stop": N + 1}, {"start": -1}, {"stop": -1}, {"start": 2**70}], ids=str
)
def test_a_stream_beyond_the_epoch_is_416_with_the_bound(query: dict[str, int], api: Api, plan: dict[str, Any]) -> None:
    assert problem(api.get(stream_path(plan, count=8, **query)), 416)["samples"] == N


@pytest.mark.parametrize(("start", "stop"), [(5, 5), (5, 3), (N, N), (0, 0)])
def test_a_slice_of_nothing_is_422_with_the_bound(start: int, stop: int, api: Api, plan: dict[str, Any]) -> None:
    assert "from 1" in problem(api.get(slice_path(plan, start, stop)), 422)["detail"]


@pytest.mark.parametrize(
    "query",
    [
        {"count": 0},
        {"count": -3},
        {"count": 2**63},
        {"count": "many"},
        {"count": "1" * 5000},
        {"count": 1.5},
        {"count": "NaN"},
        {"count": 8, "stride": 0},
        {"count": 8, "stride": -1},
        {"count": 8, "stride": 2**63},
        {"count": 8, "epoch": -1},
        {"count": 8, "epoch": 2**63},
        {"count": 8, "checksum": "md5"},
        {"start": 0},
    ],
    ids=lambda query: str(query)[:40],
)
def test_a_stream_that_makes_no_sense_is_422_naming_the_parameter(
    query: dict[str, Any], api: Api, plan: dict[str, Any]
) -> None:
    wrong = next((name for name in ("stride", "epoch", "checksum") if name in query), "count")
    body = problem(api.get(stream_path(plan, **query)), 422)
    assert wrong in body["detail"] or body["title"] == "batch too large"


def test_a_parameter_that_is_left_out_is_named(api: Api, plan: dict[str, Any]) -> None:
    body = problem(api.get(f"/v1/plans/{plan['id']}/stream", params={"count": 8}), 422)
    assert body["detail"] == "epoch is missing"


def test_a_parameter_that_does_not_exist_is_422_naming_those_that_do(api: Api, plan: dict[str, Any]) -> None:
    detail = problem(api.get(stream_path(plan, count=8, strid=16)), 422)["detail"]
    assert "'strid'" in detail
    assert "epoch, count, start, stride, stop, checksum" in detail
    assert "'count'" in problem(api.get(slice_path(plan, 0, 8, count=3)), 422)["detail"]


def test_more_bytes_than_the_server_allows_are_422_with_the_bound_and_as_many_as_it_says_are_not(
    api: Api, plan: dict[str, Any]
) -> None:
    body = problem(api.get(stream_path(plan, count=10**9)), 422)
    most = body["most_samples"]
    assert f"{256 * 2**20}" in body["detail"]
    assert str(most) in body["detail"]
    assert most == 256 * 2**20 // (ONE + 8)
    assert problem(api.get(stream_path(plan, count=most + 1)), 422)["most_samples"] == most
    assert [header["kind"] for header, _ in api.frames(plan, count=most)] == ["batch", "end"]


def test_a_plan_whose_single_sample_is_too_large_says_so(api: Api) -> None:
    huge = api.plan(**PLAN, transforms=[{"name": "Resize", "size": [16384, 16384]}])
    for path in (stream_path(huge, count=1), slice_path(huge, 0, 1)):
        assert problem(api.get(path), 422)["most_samples"] == 0


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/plans/",
        "/nope",
        "/v1/plans/x/epochs/0/slices/",
        "/docs/assets/nope.js",
        "/docs/assets/../../app.py",
        "/v1/datasets/%ff%00",
    ],
)
def test_a_path_that_is_not_there_is_404(path: str, api: Api) -> None:
    problem(api.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "/v1/datasets"), ("GET", "/v1/plans"), ("POST", "/healthz"), ("PUT", "/v1/datasets/flowers")],
)
def test_a_method_that_a_path_does_not_know_is_405_naming_those_that_it_does(method: str, path: str, api: Api) -> None:
    answer = api.request(method, path)
    problem(answer, 405)
    assert answer.headers["allow"]


def test_head_is_405_without_a_body(api: Api) -> None:
    for path in ("/healthz", "/v1/datasets", "/docs"):
        answer = api.head(path)
        assert (answer.status_code, answer.headers["allow"], answer.content) == (405, "GET", b"")


def test_bytes_that_are_not_http_are_refused_and_harm_nobody(server: ServerProcess, api: Api) -> None:
    with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as connection:
        connection.sendall(b"\x92\xc6\x00nonsense\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert api.get("/healthz").status_code == 200


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = st.sampled_from(["dataset", "split", "transforms", "shuffle", "seed", "dtype", "layout", "subset"])
_TRANSFORM = st.fixed_dictionaries(
    {"name": st.sampled_from([*BUILT_IN, "x"])},
    optional=dict.fromkeys(("size", "p", "degrees", "mean", "std", "scale", "ratio", "hue", "fill", "padding"), _JSON),
)


@given(
    st.dictionaries(_FIELDS, _JSON, max_size=4)
    | st.fixed_dictionaries({"transforms": st.lists(_TRANSFORM, min_size=1, max_size=3)})
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_plan_makes_the_server_fail(api: Api, fields: dict[str, Any]) -> None:
    """Whatever JSON comes, the answer is a plan or a refusal in one line."""
    body = json.dumps({**PLAN, **fields})
    answer = api.post("/v1/plans", content=body)
    if answer.status_code != 200:
        assert answer.status_code in (404, 422)
        problem(answer, answer.status_code)


def test_nothing_of_all_this_was_an_error_in_the_servers_log(server: ServerProcess) -> None:
    """Refusals are the clients' business; the log of a healthy server is quiet. Runs last in this file."""
    events = [json.loads(line) for line in server.errors]
    assert not [event for event in events if event["level"] == "error"]
