"""Several processes on one port: the same batches, numbers that add up, and an end in good order."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import DEADLINE, Api, ServerProcess, frames_of, importable, run_headrace, slice_path, stream_path, wait_for
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

import headrace
from headrace_server.metrics import make_room
from headrace_server.plan_files import PlanFiles
from headrace_server.settings import load_settings

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks processes up in /proc")

RESIZE = '[{"name": "Resize", "size": [16, 16]}]'
TELLTALE = '''
import os, pathlib
from headrace_server import transform

@transform(version=1)
def telltale(image, labels, rng, *, folder):
    """Leaves a file named as the process that made the batch."""
    (pathlib.Path(folder) / str(os.getpid())).touch()
    return image
'''
FATAL = """
import os
from headrace_server import transform

os.register_at_fork(after_in_child=lambda: os._exit(3))

@transform(version=1)
def fatal(image, labels, rng):
    return image
"""


def start(flowers: Path, scratch: Path, *options: str, port: int = 0) -> ServerProcess:
    """A server of two processes, whose temporary files go into `scratch`/tmp."""
    (scratch / "tmp").mkdir(exist_ok=True)
    (scratch / "telltale.py").write_text(TELLTALE)
    custom = ("--custom-transforms", '{"Telltale": "telltale:telltale"}')
    words = ("--processes", "2", "--transforms", RESIZE, "--ping-seconds", "0.1", *custom, *options)
    return ServerProcess(
        flowers, f"others={flowers}", *words, port=port, env={**importable(scratch), "TMPDIR": str(scratch / "tmp")}
    )


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def two(flowers: Path, scratch: Path) -> Iterator[ServerProcess]:
    with start(flowers, scratch) as running:
        yield running


def workers(server: ServerProcess) -> set[int]:
    """The processes that a server has started and that have not ended."""
    pid = server.process.pid
    return {child for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()) if alive(child)}


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def told(folder: Path) -> dict[str, Any]:
    """A plan whose batches name the process that made them, in a folder."""
    folder.mkdir(exist_ok=True)
    resize, telltale = {"name": "Resize", "size": [4, 4]}, {"name": "Telltale", "folder": str(folder)}
    return {"split": "val", "transforms": [resize, telltale]}


def slices(server: ServerProcess, plan: dict[str, Any], count: int) -> list[bytes]:
    """The same slice so many times, each over a connection of its own."""
    return [get(server, slice_path(plan, 3, 8)) for _ in range(count)]


def get(server: ServerProcess, path: str) -> bytes:
    """A response's body, over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        return body


def slices_of_each(server: ServerProcess, plan: dict[str, Any], folder: Path) -> int:
    """Asks for slices until every worker has made one, and says how many it were."""
    for count in range(1, 200):
        slices(server, plan, 1)
        if {int(path.name) for path in folder.iterdir()} >= workers(server):
            return count
    raise AssertionError(f"200 connections did not reach all of {workers(server)}")


def test_many_clients_of_two_processes_get_what_one_process_sends(server: ServerProcess, two: ServerProcess) -> None:
    """Whole epochs, by the real client, each with connections of its own."""

    def epoch(url: str) -> list[dict[str, Any]]:
        with headrace.connect(url, wait=0) as client:
            return [dict(batch) for batch in client.dataset("flowers", split="train", batch_size=16, shuffle=True)]

    expected = epoch(server.url)
    assert sum(len(batch["image"]) for batch in expected) == 90
    with ThreadPoolExecutor(6) as pool:
        for batches in pool.map(epoch, [two.url] * 12):
            for found, wanted in zip(batches, expected, strict=True):
                assert found.keys() == wanted.keys()
                assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_a_plan_posted_to_one_process_is_known_to_all(two: ServerProcess, scratch: Path) -> None:
    with Api(two) as api:
        plan = api.plan("flowers", **told(scratch / "known"))
    assert slices_of_each(two, plan, scratch / "known") >= 2
    assert len(set(slices(two, plan, 10))) == 1
    assert len(workers(two)) == 2


def test_clients_go_on_whose_plan_all_processes_have_forgotten(flowers: Path, tmp_path: Path) -> None:
    """Each posts it again, to whichever process it meets, and then streams from whichever it meets."""
    with start(flowers, tmp_path) as first, ExitStack() as stack:
        clients = [stack.enter_context(headrace.connect(first.url, wait=0)) for _ in range(6)]
        datasets = [client.dataset("flowers", split="val", batch_size=6, tail="pad") for client in clients]
        expected = [[batch["key"].tolist() for batch in dataset] for dataset in datasets]
        assert first.stop() == 0
        with start(flowers, tmp_path, port=first.port):
            for dataset, keys in zip(datasets, expected, strict=True):
                dataset.set_epoch(0)
                assert [batch["key"].tolist() for batch in dataset] == keys


def test_a_plan_that_nobody_posted_is_unknown_to_all(two: ServerProcess) -> None:
    for name in ("0" * 32, "..%2f" + "0" * 32, "x"):
        with Api(two) as api:
            answer = api.get(slice_path({"id": name}, 0, 1))
            assert answer.status_code == 404, answer.text


def test_every_process_gives_the_sums_of_all_processes_metrics(flowers: Path, tmp_path: Path) -> None:
    """The counters, also of a process that was killed; and the gauges, without what was going on in it."""
    with start(flowers, tmp_path, "--memory-mb", "3") as server, ExitStack() as open_streams:
        with Api(server) as api:
            plan, large = api.plan("flowers", **told(tmp_path / "told")), api.plan("others", **huge())
        count = slices_of_each(server, plan, tmp_path / "told")
        for _ in range(5):
            api = open_streams.enter_context(Api(server))
            open_streams.enter_context(api.stream("GET", stream_path(large, count=1)))
        assert metrics(server, "headrace_samples_total", dataset="flowers") == {5.0 * count}
        assert metrics(server, "headrace_memory_bytes") == {3.0 * 2**20}
        assert metrics(server, "headrace_streams") == {5.0}

        for victim in workers(server):
            before = workers(server)
            os.kill(victim, signal.SIGKILL)
            wait_for(partial(one_is_new, server, before), "the worker to be replaced")
        open_streams.close()
        assert metrics(server, "headrace_streams") == {0.0}
        assert metrics(server, "headrace_memory_used_bytes") == {0.0}
        assert metrics(server, "headrace_memory_bytes") == {3.0 * 2**20}
        more = slices_of_each(server, plan, tmp_path / "told")
        assert metrics(server, "headrace_samples_total", dataset="flowers") == {5.0 * (count + more)}
        assert server.stop() == 0
    ended = [json.loads(line) for line in server.errors if "ended unasked" in line]
    assert [(event["outcome"], event["level"]) for event in ended] == [("signal SIGKILL", "error")] * 2


def one_is_new(server: ServerProcess, before: set[int]) -> bool:
    return len(workers(server) - before) == 1


def huge() -> dict[str, Any]:
    """A plan whose streams fill every buffer on their way, so that they stay open."""
    return {"split": "train", "transforms": [{"name": "Resize", "size": [1024, 1024]}]}


def metrics(server: ServerProcess, name: str, **labels: str) -> set[float]:
    """What all processes say when they have come to agree, for all that was going on a moment ago."""

    def asked() -> set[float]:
        texts = [get(server, "/metrics").decode() for _ in range(12)]
        return {sum(values_of(text, name, labels)) for text in texts}

    before, found = set[float](), asked()
    while len(found) > 1 or found != before:
        before, found = found, asked()
    return found


def values_of(text: str, name: str, labels: dict[str, str]) -> list[float]:
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return [sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items()]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_end_reaches_all_processes_and_leaves_nothing(how: signal.Signals, flowers: Path, tmp_path: Path) -> None:
    """Streams in both are told where to go on; then the port is free."""
    with start(flowers, tmp_path, "--grace-seconds", "60") as server, ExitStack() as stack:
        apis = [stack.enter_context(Api(server)) for _ in range(8)]
        plan = apis[0].plan("flowers", **huge())
        answers = [stack.enter_context(api.stream("GET", stream_path(plan, count=1))) for api in apis]
        began = workers(server)
        server.process.send_signal(how)
        for answer in answers:
            frames = [header for header, _ in frames_of(answer.read()) if header["kind"] != "ping"]
            assert (frames[-1]["kind"], frames[-1]["reason"]) == ("end", "draining")
            assert frames[-1]["next"] == len(frames) - 1
        stack.close()
        port = server.port
        assert server.stop() == 0, server.errors
    events = [json.loads(line) for line in server.errors]
    assert [event["event"] for event in events] == ["shutting down"] * 2
    assert sum(event["streams"] for event in events) == 8
    assert len(began) == 2
    assert not any(map(alive, began))
    assert list((tmp_path / "tmp").iterdir()) == []
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_second_ctrl_c_ends_the_grace_of_all(flowers: Path, tmp_path: Path) -> None:
    with start(flowers, tmp_path, "--grace-seconds", "60") as server, ExitStack() as stack:
        apis = [stack.enter_context(Api(server)) for _ in range(8)]
        plan = apis[0].plan("flowers", **huge())
        for api in apis:
            stack.enter_context(api.stream("GET", stream_path(plan, count=1)))
        server.process.send_signal(signal.SIGINT)
        wait_for(lambda: sum("shutting down" in line for line in list(server.errors)) == 2, "all to begin their end")
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 0


def test_ctrl_c_in_a_terminal_reaches_only_the_parent(two: ServerProcess) -> None:
    assert all(os.getpgid(worker) != os.getpgid(two.process.pid) for worker in workers(two))


def test_no_connection_waits_for_a_process_that_has_ended_in_good_order(flowers: Path, tmp_path: Path) -> None:
    """While another still ends its streams."""
    with start(flowers, tmp_path, "--grace-seconds", "60") as server, Api(server) as api:
        plan = api.plan("flowers", **huge())
        with api.stream("GET", stream_path(plan, count=1)):
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: len(workers(server)) == 1, "the idle worker to end")
            for _ in range(20):
                with Api(server) as other:
                    assert other.get("/readyz", timeout=5).status_code == 503
        assert server.stop() == 0


def test_a_killed_process_is_replaced_and_connections_wait_for_it(flowers: Path, tmp_path: Path) -> None:
    with start(flowers, tmp_path) as server:
        with Api(server) as api:
            plan = api.plan("flowers", **told(tmp_path / "told"))
        expected = slices(server, plan, 1)[0]
        slices_of_each(server, plan, tmp_path / "told")
        before = workers(server)
        os.kill(min(before), signal.SIGKILL)
        wait_for(lambda: not alive(min(before)), "the worker to end")
        assert set(slices(server, plan, 20)) == {expected}
        wait_for(lambda: len(workers(server)) == 2, "the worker to be replaced")
        assert len(workers(server) & before) == 1
        slices_of_each(server, plan, tmp_path / "told")


def test_no_process_outlives_its_parent(flowers: Path, tmp_path: Path) -> None:
    with start(flowers, tmp_path) as server:
        with Api(server) as api:
            slices_of_each(server, api.plan("flowers", **told(tmp_path / "told")), tmp_path / "told")
        began = workers(server)
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        wait_for(lambda: not any(map(alive, began)), "the workers to end")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_processes_that_end_as_soon_as_they_begin_end_the_server_with_one_line(flowers: Path, tmp_path: Path) -> None:
    (tmp_path / "fatal.py").write_text(FATAL)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", importable(tmp_path)["PYTHONPATH"])
        custom = ("--custom-transforms", '{"Fatal": "fatal:fatal"}')
        ended = run_headrace("serve", flowers, "--port", "0", "--processes", "2", *custom, timeout=30)
    assert ended.returncode == 1
    *events, line = ended.stderr.splitlines()
    assert line.startswith("headrace serve: 5 workers in a row ended within 5 s of their start, the last with exit st")
    assert {json.loads(event)["outcome"] for event in events} == {"exit status 3"}


def test_a_port_that_such_a_server_has_is_taken_for_another(flowers: Path, two: ServerProcess) -> None:
    for count in ("1", "2"):
        ended = run_headrace("serve", flowers, "--port", str(two.port), "--processes", count, timeout=30)
        assert ended.returncode == 1
        assert "Address already in use" in ended.stderr


def test_one_process_has_no_parent(server: ServerProcess) -> None:
    assert workers(server) == set()


def test_metrics_can_be_read_before_a_process_has_counted_anything(tmp_path: Path) -> None:
    make_room(tmp_path, 0)
    collected = MultiProcessCollector(None, str(tmp_path)).collect()  # type: ignore[no-untyped-call]
    assert list(collected) == []
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"counter_0.db", "gauge_livesum_0.db"}
    (tmp_path / "counter_0.db").write_bytes(b"counted")
    make_room(tmp_path, 0)
    assert (tmp_path / "counter_0.db").read_bytes() == b"counted"


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_totals_are_divided_among_processes_and_stay_totals(processes: int) -> None:
    totals = {"decode_threads": 16, "read_threads": 256, "memory_mb": 1000, "share_mb": 129, "cache_mb": 7}
    settings = load_settings({"processes": processes, **totals})
    shares = [settings.share(number) for number in range(processes)]
    for name, total in totals.items():
        parts = [getattr(share, name) for share in shares]
        assert sum(parts) == total
        assert max(parts) - min(parts) <= 1
    assert {share.queue_batches for share in shares} == {settings.queue_batches}


def test_no_process_goes_without_what_there_is_and_none_has_what_is_off() -> None:
    settings = load_settings({"processes": 4, "decode_threads": 2, "memory_mb": 1, "share_mb": 3, "cache_mb": 0})
    for number in range(4):
        share = settings.share(number)
        assert (share.decode_threads, share.memory_mb, share.share_mb, share.cache_mb) == (1, 1, 1, 0)


def test_the_longest_unused_plan_is_forgotten_first(tmp_path: Path) -> None:
    files, names = PlanFiles(tmp_path, most=3), [f"{number:032x}" for number in range(4)]
    for number, name in enumerate(names[:3]):
        files.put(name, {"number": number})
        os.utime(tmp_path / f"{name}.plan", (number, number))
    assert files.get(names[0]) == {"number": 0}  # used now
    files.put(names[3], {"number": 3})
    assert [files.get(name) for name in names] == [{"number": 0}, None, {"number": 2}, {"number": 3}]
    assert len(list(tmp_path.iterdir())) == 3


def test_a_plans_name_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "plans").mkdir()
    (tmp_path / f"{0:032x}.plan").write_text("{}")
    files = PlanFiles(tmp_path / "plans")
    assert [files.get(name) for name in (f"../{0:032x}", f"{0:032X}x", "", "\0")] == [None] * 4
