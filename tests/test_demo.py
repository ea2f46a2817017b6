"""`headrace demo`: its images, its processes, and the promise that it learns."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from harness import run_headrace, wait_for
from PIL import Image
from sklearn.datasets import load_digits

from headrace.examples.digits import judged
from headrace_server.commands.children import child
from headrace_server.commands.digits import COUNTS, write_digits
from headrace_server.errors import ConfigurationError

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "digits"
    assert write_digits(root)
    return root


class TestImages:
    def test_they_are_scikit_learns_digits_each_once_in_its_class_folder(self, digits: Path) -> None:
        source = load_digits()
        paths = sorted(digits.rglob("*.png"), key=lambda path: path.name)
        assert [path.stem for path in paths] == [f"{number:04}" for number in range(1797)]
        assert [int(path.parent.name) for path in paths] == source.target.tolist()
        for path, image in zip(paths[:200], source.images, strict=False):
            with Image.open(path) as picture:
                assert picture.mode == "L"
                assert np.abs(np.asarray(picture) / 255 * 16 - image).max() < 0.05

    def test_train_and_test_hold_every_class_in_the_numbers_promised(self, digits: Path) -> None:
        for split, count in COUNTS.items():
            assert len(list((digits / split).rglob("*"))) == count + 10
            assert {path.name for path in (digits / split).iterdir()} == set("0123456789")

    def test_a_complete_folder_is_left_alone(self, digits: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in digits.rglob("*")}
        assert not write_digits(digits)
        assert before == {path: path.stat().st_mtime_ns for path in digits.rglob("*")}

    def test_a_folder_left_half_written_is_finished(self, tmp_path: Path) -> None:
        write_digits(tmp_path)
        victim = next((tmp_path / "test" / "7").iterdir())
        content = victim.read_bytes()
        victim.unlink()
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
        assert write_digits(tmp_path)
        assert victim.read_bytes() == content
        assert before == {path: path.stat().st_mtime_ns for path in before}

    def test_a_folder_with_other_things_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("mine")
        with pytest.raises(ConfigurationError, match=r"thesis\.txt.*--data"):
            write_digits(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def leave_stubborn_child(children: list[subprocess.Popen[str]]) -> None:
    """Leaves the block of a child that does not end, and gets the alarm while it waits for it."""
    with child(STUBBORN, stdout=subprocess.PIPE) as process:
        children.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        signal.setitimer(signal.ITIMER_REAL, 0.2)


class TestChildren:
    def test_a_child_ends_with_its_block(self) -> None:
        with child(SLEEP) as process:
            assert process.poll() is None
        assert process.returncode == -signal.SIGTERM

    def test_a_child_ends_where_the_block_fails(self) -> None:
        with pytest.raises(ZeroDivisionError), child(SLEEP) as process:
            _ = 1 / 0
        assert process.returncode == -signal.SIGTERM

    def test_a_stubborn_child_is_killed_at_a_second_ctrl_c(self) -> None:
        """Here the alarm's signal stands for Ctrl-C, since it can be timed."""
        previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            children: list[subprocess.Popen[str]] = []
            with pytest.raises(KeyboardInterrupt):
                leave_stubborn_child(children)
        finally:
            signal.signal(signal.SIGALRM, previous)
        (process,) = children
        assert process.returncode == -signal.SIGKILL

    def test_a_child_gets_no_ctrl_c_of_the_terminal(self) -> None:
        with child(SLEEP) as process:
            assert os.getpgid(process.pid) == process.pid

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children")
    def test_a_child_ends_even_where_its_parent_is_killed(self) -> None:
        code = (
            "from headrace_server.commands.children import child\n"
            f"with child({SLEEP!r}) as process: print(process.pid, flush=True); process.wait()"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            said = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
            parent.kill()  # both are up
        (pid,) = (int(word) for word in said if word != "up")
        wait_for(lambda: not running(pid), "the child to end")


class Demo:
    """`headrace demo` in a process of its own."""

    def __init__(self, data: Path, *more: str) -> None:
        words = [sys.executable, "-m", "headrace", "demo", "--data", str(data), *more]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []

    def read_until(self, start: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith(start):
                return
        raise AssertionError(f"no line {start!r} in {self.lines}")

    def pid(self, name: str) -> int:
        (line,) = (line for line in self.lines if line.startswith(name))
        return int(line.rsplit("process ", 1)[1])


@pytest.fixture
def loading(digits: Path) -> Iterator[Demo]:
    """A demo whose server runs, and whose trainer has connected to it."""
    demo = Demo(digits)
    try:
        demo.read_until("loading")
        yield demo
    finally:
        demo.process.kill()
        demo.process.communicate()


class TestCommand:
    def test_it_learns_the_digits(self, digits: Path) -> None:
        done = run_headrace("demo", "--data", digits, timeout=170)
        assert (done.returncode, done.stderr) == (0, "")
        assert "(there already)" in done.stdout
        epochs = re.findall(r"^epoch +(\d+)/15 +1,437 images +[\d,]+ images/s  waited +\d+%", done.stdout, re.MULTILINE)
        assert [int(epoch) for epoch in epochs] == list(range(1, 16))
        assert re.search(r"^trained   21,555 images in .* waited \d+% of the time$", done.stdout, re.MULTILINE)
        accuracy = re.search(r"^tested    on 360 other images: accuracy ([\d.]+)%$", done.stdout, re.MULTILINE)
        assert accuracy is not None
        assert float(accuracy[1]) > 97

    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_ends_all_processes_without_noise(self, loading: Demo, how: signal.Signals) -> None:
        loading.process.send_signal(how)
        _, errors = loading.process.communicate(timeout=60)
        assert loading.process.returncode == 128 + how
        assert errors == ("headrace demo: stopped\n" if how == signal.SIGINT else "")
        assert not running(loading.pid("server"))
        assert not running(loading.pid("trainer"))

    @pytest.mark.parametrize(("victim", "other"), [("server", "trainer"), ("trainer", "server")])
    def test_where_one_process_dies_the_other_is_ended_and_one_line_says_so(
        self, loading: Demo, victim: str, other: str
    ) -> None:
        os.kill(loading.pid(victim), signal.SIGKILL)
        _, errors = loading.process.communicate(timeout=60)
        assert loading.process.returncode == 1
        assert f"headrace demo: the {victim}" in errors
        assert "Traceback" not in errors
        assert not running(loading.pid(other))

    def test_the_operators_settings_do_not_change_the_demo(self, digits: Path, tmp_path: Path) -> None:
        (tmp_path / "headrace.toml").write_text("nonsense = 1")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            done = subprocess.run(
                [sys.executable, "-m", "headrace", "demo", "--data", str(digits), "--port", port],
                env={**os.environ, "HEADRACE_DECODE_THREADS": "none"},
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
        # It came as far as listening, which it could not.
        assert done.returncode == 1
        why, status = done.stderr.splitlines()
        assert f"cannot listen on 127.0.0.1 port {port}" in why
        assert status == "headrace demo: the server did not start (exit status 1)"

    @pytest.mark.parametrize(
        ("module", "said"),
        [
            ("tensorflow", 'pip install "headrace[tensorflow]"'),
            ("fastapi", 'pip install "headrace[server]"'),
            ("PIL", 'pip install "headrace[server]"'),
            ("sklearn", "pip install scikit-learn"),
        ],
    )
    def test_what_is_missing_is_named(self, tmp_path: Path, module: str, said: str) -> None:
        words = ["demo", "--data", str(tmp_path / "new")]
        code = f"import sys; sys.modules[{module!r}] = None; from headrace.cli import main; sys.exit(main({words}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert said in line

    def test_no_epochs_are_refused(self, tmp_path: Path) -> None:
        done = run_headrace("demo", "--epochs", "0", "--data", tmp_path / "new")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "headrace demo: --epochs must be at least 1, found 0\n"
        assert not (tmp_path / "new").exists()


def test_a_model_that_has_not_learned_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert judged(0.9701) == 0
    assert capsys.readouterr().err == ""
    assert judged(0.97) == 1
    assert "97%" in capsys.readouterr().err


def running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
