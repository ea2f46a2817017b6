"""The benchmark's arithmetic and pages; nothing here is timed."""

from __future__ import annotations

import copy
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import moving_page, report
from benchmarks.contenders.limits import as_the_server_does
from benchmarks.figures import Spread, cpu_us_per_image, images_per_second, ratio, spread, together
from benchmarks.floors import FLOORS
from benchmarks.processes import Server
from benchmarks.tables import contenders_table, floors_table, shown_spread, table
from benchmarks.worker import measure
from harness import DEADLINE
from jpegs import encoded, smooth


def turn(rate: float, cpu_us: float = 100.0) -> dict[str, float]:
    """A turn of 2 s at `rate` images of 1,000 bytes a second."""
    images = 2 * rate
    return {"images": images, "bytes": 1000 * images, "seconds": 2.0, "cpu_seconds": images * cpu_us / 1e6}


def contender(name: str, *turns: dict[str, float], **more: Any) -> dict[str, Any]:
    return {"name": name, "label": name.replace("_", " "), "turns": list(turns), **more}


def results(**cases: dict[str, Any]) -> dict[str, Any]:
    return {
        "date": "2026-01-01",
        "minutes": 15.0,
        "settings": {"seconds": 3.0, "warm": 1.0, "rounds": 3, "scale": 1.0},
        "machine": {"cores": "2"},
        "versions": {"python": "3.11"},
        "cases": cases,
    }


MOVING = ("in_memory", "paths_and_map", "generator", "generator_with_thread", "from_headrace")


def test_a_spread_is_the_median_and_the_extremes() -> None:
    assert Spread.of([3.0, 1.0, 10.0]) == (3.0, 1.0, 10.0)
    with pytest.raises(ValueError, match="at least one"):
        Spread.of([])


def test_figures_are_rates_and_costs_of_a_turn() -> None:
    assert spread([turn(100), turn(300)], images_per_second) == (200.0, 100.0, 300.0)
    assert cpu_us_per_image(turn(100, cpu_us=25)) == pytest.approx(25)


def test_a_ratio_is_taken_within_each_round() -> None:
    # The second round was half as fast for both: the ratio does not see it.
    assert ratio([turn(200), turn(100)], [turn(100), turn(50)], images_per_second) == (2.0, 2.0, 2.0)


def test_trainers_together_add_their_rates_and_keep_their_cost() -> None:
    slow = {key: value * 2 for key, value in turn(50).items()}  # twice as long
    both = together([turn(100), slow])
    assert images_per_second(both) == pytest.approx(150)
    assert cpu_us_per_image(both) == pytest.approx(100)


def test_a_turn_counts_what_came_after_the_warm_up() -> None:
    taken = []

    def batches() -> Any:
        while True:
            taken.append(1)
            yield 32, 3200

    found = measure(batches(), warm=0.0, seconds=0.0, watch=None)
    assert (found["images"], found["bytes"], len(taken)) == (32, 3200, 1)
    assert found["seconds"] > 0


def test_a_spread_is_written_once_where_the_rounds_agree() -> None:
    assert shown_spread(Spread(2.0, 1.0, 3.0), ".1f") == "2.0 (1.0 to 3.0)"
    assert shown_spread(Spread(2.0, 2.0, 2.0), ".1f") == "2.0"


def test_a_table_escapes_what_would_end_a_cell() -> None:
    assert table(["a"], [["x|y"]]) == "| a |\n| --- |\n| x\\|y |"


def test_a_contender_that_failed_stands_in_the_table_with_its_error() -> None:
    text = contenders_table([contender("good", turn(100)), contender("bad", error="ValueError: no")])
    assert "| good | 100 | 0.00 | 100.0 | 100.000 |" in text
    assert "| bad | failed: ValueError: no |" in text


def test_floors_say_reached_missed_and_not_shown() -> None:
    fast = [contender("headrace_tf", turn(1000)), contender("bare", turn(1000)), contender("tf_local", turn(2000))]
    lines = floors_table(results(jpeg={"contenders": fast})).splitlines()
    bare, local, service = (next(line for line in lines if text in line) for text in ("bare", "local", "service"))
    assert bare.endswith("| 1 x | reached |")
    assert local.endswith("| 0.5 x | **missed** |")
    assert "not shown by this run" in service


def test_every_row_of_the_task_has_a_floor() -> None:
    assert {floor.row for floor in FLOORS} == set(range(1, 13))


def test_the_page_shows_each_case_and_survives_those_that_failed() -> None:
    page = report.page(
        results(jpeg={"contenders": [contender("bare", turn(2500))]}, memory={"error": "OSError: gone"}),
        {"jpeg": ["jpeg-rate.svg"]},
    )
    assert "| bare | 2,500 |" in page
    assert "](benchmarks/jpeg-rate.svg)" in page
    assert "This case failed: OSError: gone" in page
    assert "$" not in page


def test_the_page_on_moving_has_the_code_that_ran_and_its_figures() -> None:
    turns = {name: turn(100 * (place + 1), cpu_us=1000) for place, name in enumerate(MOVING)}
    run = results(moving={"contenders": [contender(name, found) for name, found in turns.items()]})
    page = moving_page.page(run)
    assert "def generator_with_thread(folder: str" in page
    assert "500 images/s, 1.7 times the generator's" in page
    missing = copy.deepcopy(run)
    missing["cases"]["moving"]["contenders"][2]["turns"] = []
    with pytest.raises(KeyError, match="generator"):
        moving_page.page(missing)


def test_the_least_of_a_server_sends_what_the_bare_loop_makes(tmp_path: Path) -> None:
    made = np.empty((4, 32, 32, 3), np.uint8)
    for number, image in enumerate(made):
        data = encoded(smooth(60, 80, seed=number))
        (tmp_path / f"{number}.jpg").write_bytes(data)
        as_the_server_does(data, image)
    halves = [made[first::2].tobytes() for first in range(2)]  # of one thread each
    with Server(["benchmarks.loop_sender", str(tmp_path), "32", "2"]) as sender:
        host, _, port = sender.address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=DEADLINE) as connection:
            stream = connection.makefile("rb")
            assert all(stream.read(len(halves[0])) in halves for _ in range(20))
