"""`headrace bench`: its figures, and its ends."""

from __future__ import annotations

import io
import itertools
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from harness import ServerProcess, run_headrace

from headrace.adapters.causes import cause_in
from headrace.commands.liveline import LiveLine
from headrace.commands.measurement import Figures, Reading, measure
from headrace.statistics import Meter, Stats

PLAIN = r"[\d,]+ images/s, [\d,.]+ MB/s, [\d,]+ us of trainer CPU per image, first batch after [\d,]+ ms"
TRACEBACK = "\nTraceback (most recent call last):\n  File x\n"
KEYS = {
    "dataset",
    "split",
    "batch_size",
    "to",
    "seconds",
    "batches",
    "images",
    "replaced",
    "images_per_second",
    "megabytes_per_second",
    "trainer_cpu_us_per_image",
    "first_batch_ms",
}


class Source:
    """Batches of ten images of 100 bytes each, as fast as they are taken; Ctrl-C comes in place of number `stop`."""

    def __init__(self, stop: int | None = None) -> None:
        self._meter, self._stop = Meter(), stop
        self.stats = self._meter.stats

    def batches(self) -> Iterator[object]:
        for number in itertools.count():
            if number == self._stop:
                raise KeyboardInterrupt
            self._meter.received(1.0, images=10, nbytes=1000, replaced=0)
            yield number


def test_figures_are_the_differences_of_two_readings() -> None:
    first = Reading(10.0, 1.0, Stats(4, 128, 10_000, 1.0, 0.5, 0))
    last = Reading(12.0, 1.5, Stats(24, 768, 5_010_000, 9.0, 0.5, 0))
    figures = Figures.between(first, last, 0.05)
    assert (figures.seconds, figures.batches, figures.images) == (2.0, 20, 640)
    assert figures.images_per_second == 320
    assert figures.megabytes_per_second == 2.5
    assert figures.cpu_us_per_image == 781.25
    assert figures.first_batch_ms == 50


def test_the_warm_up_is_no_part_of_the_figures() -> None:
    source = Source()
    seen: list[Figures | None] = []
    figures = measure(source.batches(), source.stats, 0.0, 0.05, seen.append)
    warm = seen.index(next(entry for entry in seen if entry is not None))
    assert warm > 0
    assert figures.batches == len(seen) - warm
    assert figures.images == 10 * figures.batches
    assert figures.seconds >= 0.05
    assert source.stats().batches == 1 + len(seen)


def test_ctrl_c_ends_it_with_the_figures_so_far() -> None:
    source = Source()
    seen: list[Figures] = []

    def progress(figures: Figures | None) -> None:
        if figures is not None:
            seen.append(figures)
            if len(seen) == 3:
                raise KeyboardInterrupt

    figures = measure(source.batches(), source.stats, 0.0, 0.05, progress)
    assert figures == seen[-1]
    assert figures.batches == 3


@pytest.mark.parametrize("stop", [0, 1])
def test_ctrl_c_before_there_are_figures_is_passed_on(stop: int) -> None:
    source = Source(stop)
    with pytest.raises(KeyboardInterrupt):
        measure(source.batches(), source.stats, 0.0, 60.0, lambda _: None)


@pytest.mark.parametrize("target", ["numpy", "tf", "torch"])
def test_the_figures_fit_together_for_every_framework(server: ServerProcess, target: str) -> None:
    words = ["--split", "train", "--shuffle", "--batch-size", "16", "--seconds", "0.5", "--to", target, "--json"]
    done = run_headrace("bench", server.url, "flowers", *words)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found.keys() == KEYS
    assert (found["dataset"], found["split"], found["batch_size"], found["to"]) == ("flowers", "train", 16, target)
    assert found["seconds"] >= 0.5
    assert 0 < found["images"] <= 16 * found["batches"]
    assert found["images_per_second"] == pytest.approx(found["images"] / found["seconds"], rel=0.01)
    # The images themselves are 16 x 16 x 3 bytes; labels and keys come with them.
    assert 768 <= found["megabytes_per_second"] * 1e6 / found["images_per_second"] <= 900
    assert found["trainer_cpu_us_per_image"] > 0
    assert found["first_batch_ms"] > 0


def test_the_last_line_is_plain_figures_and_stderr_is_quiet_off_a_terminal(server: ServerProcess) -> None:
    done = run_headrace("bench", server.url, "flowers", "--split", "val", "--seconds", "0.2")
    assert (done.returncode, done.stderr) == (0, "")
    subject, figures = done.stdout.splitlines()
    assert subject == "flowers/val: 13 images, each 16 x 16 x 3 uint8; batches of 32 as NumPy arrays"
    assert_plain(figures)


def test_ctrl_c_ends_the_command_with_the_figures_that_its_live_line_showed(server: ServerProcess) -> None:
    """With a terminal as its stderr."""
    terminal, end = pty.openpty()
    words = [sys.executable, "-m", "headrace", "bench", server.url, "flowers", "--split", "train", "--seconds", "600"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=end, text=True) as process:
        os.close(end)
        shown = b""
        while b"MB/s" not in shown:
            shown += os.read(terminal, 4096)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    os.close(terminal)
    assert shown.startswith(b"\rwarming up")
    assert process.returncode == 0
    assert_plain(output.splitlines()[-1])


@pytest.mark.parametrize("target", ["numpy", "tf"])
def test_a_server_that_dies_is_one_line(flowers: object, target: str) -> None:
    with ServerProcess(str(flowers)) as dying:
        words = ["bench", dying.url, "flowers", "--split", "train", "--seconds", "600", "--to", target]
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()  # it has its plan
        dying.stop(signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    (line,) = errors.splitlines()
    assert line.startswith("headrace: ")


def test_images_that_cannot_be_decoded_are_counted_and_stop_nothing(oddities: ServerProcess) -> None:
    """3 of 200 are more than the server's budget of 1%."""
    done = run_headrace("bench", oddities.url, "worse", "--seconds", "0.2")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^[\d,]+ images? could not be decoded and others came in place", done.stdout, re.MULTILINE)


def test_one_image_is_spoken_of_as_one(oddities: ServerProcess) -> None:
    assert "one/all: 1 image, each" in run_headrace("bench", oddities.url, "one", "--seconds", "0.2").stdout
    assert "headrace: one/all: 1 image\n" in oddities.lines


@pytest.mark.parametrize(("words", "said"), [(["--seconds", "0"], "--seconds"), (["--batch-size", "0"], "batch_size")])
def test_figures_that_cannot_be_are_refused_in_one_line(server: ServerProcess, words: list[str], said: str) -> None:
    done = run_headrace("bench", server.url, "flowers", "--split", "val", *words)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert said in line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_live_line_is_written_in_place_and_wiped_at_the_end() -> None:
    terminal = Terminal()
    line = LiveLine(terminal)
    line.show("1 of 10 s")
    line.show("too soon after the other")
    line.clear()
    assert terminal.getvalue() == "\r1 of 10 s\x1b[K\r\x1b[K"


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("{{function_node Next}} StreamBroken: at 0: cut" + TRACEBACK, "StreamBroken: at 0: cut"),
        (f"Graph execution error:\n\nDetected at node PyFunc\nTooManyReplaced: 3{2 * TRACEBACK}", "TooManyReplaced: 3"),
        ("{{node MatMul}} OOM when allocating\n\t [[{{node MatMul}}]]", "OOM when allocating"),
        ("", ""),
    ],
)
def test_the_cause_is_found_in_what_tensorflow_says(message: str, cause: str) -> None:
    assert cause_in(message) == cause


def assert_plain(line: str) -> None:
    assert re.fullmatch(PLAIN, line), line
