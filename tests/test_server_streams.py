"""Streams from real servers: what is in them, and what becomes of those that nobody reads."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from harness import DEADLINE, Api, Frame, ServerProcess, frames_of, importable, slice_path, stream_path, wait_for
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headrace_proto import arrays, frame, messages
from headrace_server.order import epoch_order
from headrace_server.sources.folder import open_folder

N = 90
"""Samples in the split `train` of `flowers`."""
THREADS = 3
"""That decode in the server with the gate."""
PLAN = {"dataset": "flowers", "split": "train"}
AUGMENTED = [
    {"name": "RandomResizedCrop", "size": [12, 10]},
    {"name": "RandomFlip"},
    {"name": "RandomRotation", "degrees": 20},
    {"name": "ColorJitter", "brightness": 0.3, "hue": 0.1},
]

GATE = '''
import pathlib, time
from headrace_server import transform

@transform(version=1)
def gate(image, labels, rng, *, path):
    """Holds every image until there is a file."""
    pathlib.Path(path + ".waiting").touch()
    while not pathlib.Path(path).exists():
        time.sleep(0.002)
    with open(path + ".passed", "a") as passed:
        passed.write("x")
    return image
'''


@pytest.fixture(scope="module")
def operators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the operator's module of transforms."""
    folder = tmp_path_factory.mktemp("operator")
    (folder / "gates.py").write_text(GATE)
    return folder


@pytest.fixture(scope="module")
def gated(flowers: Path, operators: Path) -> Iterator[ServerProcess]:
    """A server with a transform that waits, little memory for work ahead, and frequent pings."""
    with ServerProcess(
        flowers,
        *("--transforms", '[{"name": "Resize", "size": [16, 16]}]'),
        *("--custom-transforms", '{"Gate": "gates:gate"}'),
        *("--ping-seconds", "0.1", "--memory-mb", "2", "--decode-threads", str(THREADS)),
        env=importable(operators),
    ) as running:
        yield running


@pytest.fixture(scope="module")
def api(gated: ServerProcess) -> Iterator[Api]:
    with Api(gated) as api:
        yield api


@pytest.fixture(scope="module")
def plan(api: Api) -> dict[str, Any]:
    return api.plan(**PLAN, shuffle=True, seed=5, transforms=AUGMENTED)


def end_of(frames: list[Frame]) -> dict[str, Any]:
    """The `end` frame's header without its padding."""
    header, payload = frames[-1]
    assert payload == b""
    return {key: value for key, value in header.items() if key != "pad"}


def without_pings(content: bytes) -> bytes:
    """A stream's bytes without what is there only because the machine was busy."""
    for checksum in (False, True):
        content = content.replace(frame.pack_head(messages.Ping().header(), checksum=checksum), b"")
    return content


def stream_of(api: Api, plan: dict[str, Any], **query: Any) -> bytes:
    return without_pings(api.get(stream_path(plan, **query)).raise_for_status().content)


def is_idle(api: Api) -> bool:
    return api.metric("headrace_streams") == 0 and api.metric("headrace_memory_used_bytes") == 0


class SilentClient:
    """Asks for a stream and reads nothing of it, by default into as small a buffer as there is."""

    def __init__(self, server: ServerProcess, path: str) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(("127.0.0.1", server.port))
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def __enter__(self) -> SilentClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


@st.composite
def _queries(draw: st.DrawFn) -> dict[str, int]:
    edges = st.sampled_from([0, 1, N - 1, N])
    stop = draw(edges | st.integers(0, N))
    start = draw(edges | st.integers(0, N))
    count = draw(st.sampled_from([1, N, N + 1, 10 * N]) | st.integers(1, N + 10))
    # Not too many frames an example, or the test takes long.
    stride = draw(st.integers(max(1, N // 12), N + 10) | st.sampled_from([10 * N, 2**62]))
    return {"start": start, "stop": stop, "count": count, "stride": stride}


@given(query=_queries(), epoch=st.integers(0, 3), checksum=st.booleans())
@example(query={"count": N + 1}, epoch=0, checksum=False)
@example(query={"count": 32}, epoch=1, checksum=True)
@example(query={"count": 7, "start": N - 1, "stop": N - 1}, epoch=0, checksum=True)
@example(query={"count": 1, "start": N}, epoch=0, checksum=False)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_stream_is_its_slices_one_after_the_other_and_an_end_frame(
    api: Api, plan: dict[str, Any], query: dict[str, int], epoch: int, checksum: bool
) -> None:
    check = {"checksum": "crc32"} if checksum else {}
    start, stop = query.get("start", 0), query.get("stop", N)
    starts = range(start, stop, query.get("stride", query["count"]))
    slices = [api.slice(plan, at, min(at + query["count"], stop), epoch=epoch, **check) for at in starts]
    content = stream_of(api, plan, epoch=epoch, **query, **check)
    assert content.startswith(b"".join(slices))
    (last,) = frames_of(content[sum(map(len, slices)) :])
    end = end_of([last])
    assert end.pop("next") >= stop
    crc = end.pop("crc32", None)
    assert (crc is not None) == checksum
    assert end == {"protocol": frame.PROTOCOL, "kind": "end", "epoch": epoch, "reason": "complete"}


def test_a_checksum_at_the_end_of_every_header_covers_header_and_payload(api: Api, plan: dict[str, Any]) -> None:
    content = stream_of(api, plan, count=40, checksum="crc32")
    kinds = []
    while content:
        size = frame.parse_prefix(content[:6])
        header_bytes, rest = content[6 : 6 + size], content[6 + size :]
        payload = rest[5 : 5 + frame.parse_infix(rest[:5])]
        header = frame.parse_header(header_bytes)
        frame.check(header_bytes, header, payload)
        assert header_bytes[-12:-4] == bytes.fromhex("a5 63 72 63 33 32 c4 04")
        kinds.append(header["kind"])
        content = rest[5 + len(payload) :]
    assert kinds == ["batch", "batch", "batch", "end"]


@pytest.mark.parametrize("shuffle", [False, True])
def test_samples_come_in_the_epochs_order_with_their_own_labels_and_keys(
    shuffle: bool, api: Api, flowers: Path
) -> None:
    plan = api.plan(**PLAN, shuffle=shuffle, seed=9)
    index = open_folder(flowers).splits["train"]
    for epoch in (0, 1):
        keys, labels = [], []
        for header, payload in frames_of(stream_of(api, plan, epoch=epoch, count=32))[:-1]:
            keys += header["strings"]["key"]
            labels += arrays.views(header["tensors"], payload)["label"].tolist()
        order = epoch_order(N, shuffle=shuffle, seed=9, epoch=epoch).samples(0, N)
        assert keys == [index.key(int(sample)).decode() for sample in order]
        assert [plan["classes"][label] for label in labels] == [key.split("/")[1] for key in keys]
        assert (keys == sorted(keys)) is not shuffle


def test_two_servers_on_two_copies_of_the_data_send_identical_bytes(
    api: Api, plan: dict[str, Any], flowers: Path, tmp_path: Path
) -> None:
    """The copy was made in another order, and its files have other times."""
    copy = tmp_path / "flowers"
    for path in sorted((path for path in flowers.rglob("*") if path.is_file()), reverse=True):
        target = copy / path.relative_to(flowers)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    with ServerProcess(copy, "--decode-threads", "1", "--queue-batches", "1") as other, Api(other) as there:
        same = there.plan(**PLAN, shuffle=True, seed=5, transforms=AUGMENTED)
        assert same == plan
        for query in ({"count": 32}, {"count": 7, "start": 3, "stride": 20}):
            assert stream_of(there, same, epoch=4, **query) == stream_of(api, plan, epoch=4, **query)
        etags = {one.get(slice_path(plan, 0, 5)).headers["etag"] for one in (api, there)}
        assert len(etags) == 1


def test_many_streams_of_different_plans_at_once_are_all_complete_and_right(gated: ServerProcess, api: Api) -> None:
    plans = [api.plan(**PLAN, shuffle=True, seed=seed, transforms=AUGMENTED) for seed in range(24)]

    def stream(plan: dict[str, Any]) -> bytes:
        with Api(gated) as own:
            return stream_of(own, plan, count=16)

    with ThreadPoolExecutor(24) as pool:
        at_once = list(pool.map(stream, plans))
    assert at_once == [stream(plan) for plan in plans]
    assert len(set(at_once)) == 24
    for content in at_once:
        frames = frames_of(content)
        assert end_of(frames)["reason"] == "complete"
        assert len({key for header, _ in frames[:-1] for key in header["strings"]["key"]}) == N
    wait_for(lambda: is_idle(api), "everything to be given back")


def test_pings_come_while_a_batch_is_slow(api: Api, tmp_path: Path) -> None:
    """A client hears from the server while it waits; then the batches come as if nothing had been."""
    gate = tmp_path / "gate"
    plan = api.plan(**PLAN, transforms=[{"name": "Resize", "size": [4, 4]}, {"name": "Gate", "path": str(gate)}])
    path = stream_path(plan, count=4, stop=8, checksum="crc32")
    received = b""
    with api.stream("GET", path) as answer:
        for chunk in answer.iter_raw():
            received += chunk
            if received.count(b"ping") == 3:
                gate.touch()
    kinds = [header["kind"] for header, _ in frames_of(received)]
    assert kinds[:3] == ["ping"] * 3
    assert [kind for kind in kinds if kind != "ping"] == ["batch", "batch", "end"]
    assert all("crc32" in header for header, _ in frames_of(received))


@pytest.mark.parametrize("kind", ["stream", "slice"])
def test_the_work_of_a_client_that_goes_away_while_it_waits_is_dropped(
    kind: str, gated: ServerProcess, api: Api, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    plan = api.plan(**PLAN, transforms=[{"name": "Resize", "size": [4, 4]}, {"name": "Gate", "path": str(gate)}])
    before = api.metric("headrace_samples_total")
    with SilentClient(gated, stream_path(plan, count=30) if kind == "stream" else slice_path(plan, 0, N)):
        wait_for(Path(f"{gate}.waiting").exists, "a batch in the making")
        if kind == "stream":
            wait_for(lambda: api.metric("headrace_memory_used_bytes") > 0, "work ahead")
            assert api.metric("headrace_streams") == 1
    wait_for(lambda: is_idle(api), "the stream to be dropped", 5)
    # All threads are held at the gate, so what another client gets comes after the dropped work's turn.
    gate.touch()
    assert api.slice(api.plan(**PLAN), 0, 8)
    assert len(Path(f"{gate}.passed").read_bytes()) <= THREADS
    assert api.metric("headrace_samples_total") == before + 8


def test_the_work_of_a_client_that_goes_away_in_the_middle_of_a_batch_is_dropped(
    gated: ServerProcess, api: Api
) -> None:
    """It had read nothing, so that the connection was full; and another had read a part."""
    large = api.plan(**PLAN, transforms=[{"name": "Resize", "size": [512, 512]}])
    with SilentClient(gated, stream_path(large, count=8)), SilentClient(gated, stream_path(large, count=8)) as other:
        wait_for(lambda: api.metric("headrace_streams") == 2, "both streams")
        assert len(other.socket.recv(20_000)) > 0
    wait_for(lambda: is_idle(api), "the streams to be dropped", 5)


def test_clients_that_read_nothing_block_nobody_and_take_no_more_than_the_memory_given(
    gated: ServerProcess, api: Api, plan: dict[str, Any]
) -> None:
    large = api.plan(**PLAN, transforms=[{"name": "Resize", "size": [256, 256]}])
    clients = [SilentClient(gated, stream_path(large, count=4)) for _ in range(8)]
    try:
        wait_for(lambda: api.metric("headrace_streams") == 8, "the silent streams")
        frames = frames_of(stream_of(api, plan, count=16))
        assert end_of(frames)["reason"] == "complete"
        assert len(frames) == 7
        assert api.slice(large, 0, 8)
        assert 0 < api.metric("headrace_memory_used_bytes") <= api.metric("headrace_memory_bytes") == 2 * 2**20
    finally:
        for client in clients:
            client.socket.close()
    wait_for(lambda: is_idle(api), "the streams to be dropped", 5)


def test_a_stream_whose_client_pauses_goes_on_where_it_was(api: Api, plan: dict[str, Any]) -> None:
    large = api.plan(**PLAN, transforms=[{"name": "Resize", "size": [256, 256]}])
    expected = stream_of(api, large, count=8)
    with api.stream("GET", stream_path(large, count=8)) as answer:
        chunks = answer.iter_raw(1000)
        first = next(chunks)
        stream_of(api, plan, count=16)
        assert without_pings(first + b"".join(chunks)) == expected


def test_nothing_of_all_this_was_an_error_in_the_servers_log(gated: ServerProcess) -> None:
    """Runs last in this file."""
    assert not [line for line in gated.errors if json.loads(line)["level"] in ("error", "warning")]
