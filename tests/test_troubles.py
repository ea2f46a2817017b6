"""What was replaced is listed, once for each sample, whichever process of a server replaced it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from harness import Api, ServerProcess, slice_path, wait_for, write_dataset

import headrace
from headrace_server import troubles
from headrace_server.troubles import Troubles


def test_what_was_replaced_is_listed(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "birds", {"a": 200})
    (folder / "a" / "00007.png").write_bytes(b"")
    with ServerProcess(folder, "--transforms", '[{"name": "Resize", "size": [8, 8]}]') as server, Api(server) as api:
        assert api.get("/v1/datasets/birds/problems").json() == {"dataset": "birds", "problems": []}
        with headrace.connect(server.url) as client:
            for _ in client.dataset("birds", batch_size=50, epochs=2):
                pass
        (found,) = api.get("/v1/datasets/birds/problems").json()["problems"]
        assert (found["split"], found["key"], found["times"]) == ("all", "a/00007.png", 2)
        assert "empty" in found["reason"]
        assert api.get("/v1/datasets/none/problems").status_code == 404


def test_every_process_lists_what_all_have_replaced(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "birds", {"a": 200})
    for number in range(2):
        (folder / "a" / f"{number:05}.png").write_bytes(b"")
    words = ("--transforms", '[{"name": "Resize", "size": [8, 8]}]', "--processes", "2")
    with ServerProcess(folder, *words) as server:
        with Api(server) as api:
            plan = api.plan("birds")

        def times() -> set[int]:
            """What several connections are told, each of which comes to any of the processes."""
            found = set()
            for _ in range(8):
                with Api(server) as api:
                    found.add(sum(one["times"] for one in api.get("/v1/datasets/birds/problems").json()["problems"]))
            return found

        for epoch in range(20):
            with Api(server) as api:
                assert api.get(slice_path(plan, 0, 100, epoch=epoch)).status_code == 200
        wait_for(lambda: times() == {40}, "all processes to list all")


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(troubles, "_MOST", 3)
    found = Troubles()
    for number in range(10):
        found.note("birds", "all", f"{number}.png", "empty")
    assert [one["key"] for one in found.to_json("birds")] == ["7.png", "8.png", "9.png"]
    assert found.to_json("fish") == []


def test_threads_and_processes_count_together(tmp_path: Path) -> None:
    ones = [Troubles(tmp_path), Troubles(tmp_path)]

    def note(one: Troubles) -> None:
        for _ in range(100):
            one.note("birds", "all", "a.png", "empty")

    threads = [threading.Thread(target=note, args=(one,)) for one in ones for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.to_json("birds") for one in ones] == 2 * [
        [{"split": "all", "key": "a.png", "reason": "empty", "times": 600}]
    ]


def test_what_cannot_be_noted_is_logged_and_does_no_harm(capsys: pytest.CaptureFixture[str]) -> None:
    found = Troubles()
    found.close()
    found.note("birds", "all", "a.png", "empty")
    output = capsys.readouterr()
    assert "a problem is not listed" in output.out + output.err
