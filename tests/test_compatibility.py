"""Clients and servers of different ages: what they take from each other, and what they say where they cannot."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
from harness import Api, ServerProcess
from hostile import IDENTITY, INFO, OUTPUTS, Answer, batch_frame, end_frame, hostile, say_json, say_stream

import headrace
from headrace.frames import FrameReader
from headrace_proto import arrays, frame, messages
from headrace_proto.plan import RESERVED
from headrace_proto.version import __version__

GOLDEN = Path(golden.__file__).parent
RELEASED = {
    "protocol-1/batch-full.frame": "d56ca9f3bb5646e7a8d6540069ba7e6259a9a217a4f0538f55b13a4f405c6977",
    "protocol-1/batch.frame": "45dcc4e406de99e779b77fa9d79f0deab46e2f5a6d5a852be3e44a58fd40a7b0",
    "protocol-1/end.frame": "e4326b7ae21aef3eeb06b18fa4cfd675fe1e83482938e4d7c10c932c2aa21883",
    "protocol-1/error.frame": "63b44298334f51b47c5af7da515f530e7f6e0e54287acc07d582fc0f19049671",
    "protocol-1/ping.frame": "795e1478daf6ee1e56c4425ed11b9f3c349aabeb928ae61add73dc209e5d20c3",
}
"""SHA-256 of what a release of each protocol wrote; entries are added, and never changed."""


LATER: dict[str, Any] = {"later": {"deeply": [1, {"nested": None}]}}
"""What no client of today knows."""


def later(message: messages.Message) -> bytes:
    return frame.pack_head({**message.header(), **LATER})


def later_batch(start: int) -> bytes:
    tensors = [{**tensor, **LATER} for tensor in arrays.describe(OUTPUTS, 4)[0]]
    replaced = [{**messages.Replaced(start + 1, "bad.png", "good.png", "truncated").to_json(), **LATER}]
    return batch_frame(start, 4, tensors=tensors, replaced=replaced, **LATER)


def refusal(url: str) -> str:
    """What a client says that does not connect, at once and in one line."""
    with pytest.raises(headrace.VersionMismatch) as error:
        headrace.connect(url, wait=60)
    assert "\n" not in str(error.value)
    return str(error.value)


# Another protocol


@pytest.mark.parametrize("protocol", [0, 2, None, "1"])
def test_a_server_of_another_protocol_is_refused_naming_both(protocol: object) -> None:
    with hostile({"/v1/datasets": say_json({**IDENTITY, "protocol": protocol, "version": "9.8.7"})}) as server:
        said = refusal(server.url)
        assert f"{server.url} runs headrace 9.8.7 with protocol {protocol!r}" in said
        assert f"this client is {__version__} with protocol 1" in said
        assert set(server.seen) == {"GET /v1/datasets"}


def test_a_client_of_a_later_protocol_is_told_what_this_server_is(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame, "PROTOCOL", 2)
    said = refusal(server.url)
    assert f"{server.url} runs headrace {__version__} with protocol 1" in said
    assert f"this client is {__version__} with protocol 2" in said


def test_the_paths_of_a_later_protocol_are_a_404_that_says_where_to_look(server: ServerProcess) -> None:
    with Api(server) as api:
        answer = api.get("/v2/datasets")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "GET /v2/datasets: Not Found; GET /docs lists what there is"


def test_frames_of_another_protocol_in_the_middle_of_a_stream_are_refused_naming_both_and_the_place() -> None:
    stream = say_stream(batch_frame(0, 4), batch_frame(4, 4, protocol=2), end_frame())
    with hostile({"/stream": stream}) as server, headrace.connect(server.url, wait=0) as client:
        batches = iter(client.dataset("made-up", batch_size=4))
        assert len(next(batches)["key"]) == 4
        with pytest.raises(headrace.StreamBroken, match=r"position 4: .*knows protocol 1, the frame says 2") as error:
            next(batches)
    assert server.url in str(error.value)
    assert "\n" not in str(error.value)


def test_a_server_that_gets_another_protocol_in_the_middle_of_a_run_ends_it_naming_both() -> None:
    later = {**IDENTITY, "protocol": 2, "version": "9.8.7"}
    answers = {"/stream": say_stream(batch_frame(0, 4), batch_frame(4, 4, protocol=2)), "/readyz": say_json(later)}
    with hostile(answers) as server, headrace.connect(server.url, retry_timeout=1) as client:
        batches = iter(client.dataset("made-up", batch_size=4))
        assert len(next(batches)["key"]) == 4
        with pytest.raises(
            headrace.StreamBroken, match=r"headrace 9\.8\.7 with protocol 2; .*with protocol 1"
        ) as error:
            next(batches)
    assert "\n" not in str(error.value)


# The same protocol


def test_a_newer_server_of_the_same_protocol_is_understood_whatever_it_adds() -> None:
    """Keys in all answers and frames, and an `end` for a reason of its own, after which the client goes on."""
    streams = [
        say_stream(later(messages.Ping()), later_batch(0), later(messages.End(0, 4, "moving house"))),
        say_stream(later_batch(4), later(messages.End(0, 8, messages.COMPLETE))),
    ]
    info = INFO.to_json()
    outputs = [{**output, **LATER} for output in info["outputs"]]
    answers: dict[str, Answer] = {
        "/v1/datasets": say_json({**IDENTITY, "datasets": [{"name": "made-up", **LATER}], **LATER}),
        "/readyz": say_json({**IDENTITY, **LATER}),
        "/v1/plans": say_json({**info, "outputs": outputs, **LATER}),
        "/stream": lambda handler: streams.pop(0)(handler),
    }
    with hostile(answers) as server, headrace.connect(server.url) as client:
        assert client.datasets() == [{"name": "made-up", **LATER}]
        data = client.dataset("made-up", batch_size=4, replace_budget=1.0)
        assert [list(batch["key"]) for batch in data] == [
            [f"{i}.png" for i in range(start, start + 4)] for start in (0, 4)
        ]
    assert not streams


def test_a_refusal_of_a_kind_that_came_later_is_still_told_in_its_own_words() -> None:
    problem = {"type": "about:blank", "title": "new", "status": 422, "detail": "not on Sundays", "code": "sunday"}
    refused = say_json({**problem, **LATER}, 422, "application/problem+json")
    with (
        hostile({"/v1/plans": refused}) as server,
        headrace.connect(server.url, wait=0) as client,
        pytest.raises(headrace.PlanRefused, match="not on Sundays"),
    ):
        client.dataset("made-up", batch_size=4)


def test_a_failure_of_a_kind_that_came_later_is_still_a_sample_that_failed() -> None:
    failure = messages.Failure("sample-bewitched", "it is under a spell", 0, 5, "5.png")
    stream = say_stream(batch_frame(0, 4), later(failure))
    with (
        hostile({"/stream": stream}) as server,
        headrace.connect(server.url, wait=0) as client,
        pytest.raises(headrace.SampleFailed, match=r"position 5: it is under a spell"),
    ):
        list(client.dataset("made-up", batch_size=4))


def test_a_plan_without_what_has_a_default_is_the_plan_with_all_of_it(server: ServerProcess) -> None:
    """So the plans of older clients, which do not know a field that came later, keep their ids."""
    named = {"name": "RandomResizedCrop", "size": 8}
    crop = {**named, "scale": [0.08, 1], "ratio": [3 / 4, 4 / 3], "antialias": True, "interpolation": "bilinear"}
    full = {"split": "val", "shuffle": False, "seed": 0, "dtype": None, "layout": "NHWC", "transforms": [crop]}
    with Api(server) as api:
        short = api.plan("flowers", split="val", transforms=[named])
        assert short == api.plan("flowers", **full)
        assert api.frames(short, count=13)[0][0]["plan"] == short["id"]


@pytest.mark.parametrize("field", [*RESERVED, "cadence"])
def test_a_plan_with_a_field_that_came_later_is_refused_by_the_field_s_name(server: ServerProcess, field: str) -> None:
    with Api(server) as api:
        answer = api.post("/v1/plans", json={"dataset": "flowers", "split": "val", field: {"a": 1}})
    assert answer.status_code == 422
    said = answer.json()["detail"]
    assert f"field {field!r}" in said
    assert ("later version" if field in RESERVED else "its fields are dataset, split, transforms") in said
    assert "\n" not in said


# Frames of every release


def test_every_protocol_has_its_golden_frames_and_no_byte_of_them_changed() -> None:
    found = {str(file.relative_to(GOLDEN)): file.read_bytes() for file in GOLDEN.glob("protocol-*/*")}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in found.items()} == RELEASED
    assert {name.partition("/")[0] for name in found} == {f"protocol-{n + 1}" for n in range(frame.PROTOCOL)}


def test_the_golden_frames_are_read_by_the_client_as_one_stream_to_the_last_pixel() -> None:
    names = ["ping", "batch", "batch-full", "error", "end"]
    assert {f"protocol-1/{name}.frame" for name in names} == set(RELEASED)
    whole = io.BytesIO(b"".join(golden.stored(name) for name in names))
    reader = FrameReader(whole.readinto, golden.OUTPUTS)
    for name in names:
        message, payload = reader.read()
        assert message == golden.FRAMES[name].message
        if isinstance(message, messages.Batch):
            columns = arrays.views(message.tensors, payload)
            assert np.array_equal(columns["image"], golden.IMAGES)
            assert np.array_equal(columns["label"], golden.LABELS)
    assert not whole.read()


def test_the_golden_checksum_is_checked_by_the_client() -> None:
    data = bytearray(golden.stored("batch-full"))
    FrameReader(io.BytesIO(data).readinto, golden.OUTPUTS, checksum=True).read()
    data[-1] ^= 1
    with pytest.raises(frame.FrameError, match="damaged"):
        FrameReader(io.BytesIO(data).readinto, golden.OUTPUTS, checksum=True).read()
