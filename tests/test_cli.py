"""The command line: what it answers to right and wrong calls, each in a process of its own."""

from __future__ import annotations

import http.server
import re
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from harness import ServerProcess, run_headrace

from headrace import __version__

COMMANDS = ("serve", "demo", "datasets", "show", "bench")


@pytest.fixture
def stranger() -> Iterator[str]:
    """The address of a web server that is no headrace server."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that says why; fails if there is another outcome."""
    assert (done.returncode, done.stdout) == (1, ""), done
    (line,) = done.stderr.splitlines()
    assert line.startswith("headrace: ")
    return line


def test_without_a_command_it_shows_every_command_with_examples() -> None:
    done = run_headrace()
    assert done.returncode == 0
    for name in COMMANDS:
        assert re.search(rf"^    {name} +\w", done.stdout, re.MULTILINE), name
    assert "headrace serve ./flowers" in done.stdout
    assert "not installed" not in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_teaches_by_example(name: str) -> None:
    done = run_headrace(name, "--help")
    assert done.returncode == 0
    assert done.stdout.count(f"headrace {name}") >= 3  # the usage, and two examples or more


def test_it_says_its_version() -> None:
    assert run_headrace("--version").stdout == f"headrace {__version__}\n"


def test_an_unknown_command_is_a_wrong_call_that_names_the_known_ones() -> None:
    done = run_headrace("train")
    assert done.returncode == 2
    assert "train" in done.stderr
    assert all(name in done.stderr for name in COMMANDS)
    assert "Traceback" not in done.stderr


def test_a_missing_argument_is_a_wrong_call() -> None:
    done = run_headrace("show")
    assert done.returncode == 2
    assert "URL" in done.stderr


@pytest.mark.parametrize("name", ["datasets", "show", "bench"])
def test_where_no_server_answers_one_line_says_where(name: str) -> None:
    words = [name, "http://127.0.0.1:1", "--wait", "0"] + ([] if name == "datasets" else ["flowers"])
    assert "http://127.0.0.1:1" in refused(run_headrace(*words))


def test_another_service_is_told_apart_from_a_headrace_server(stranger: str) -> None:
    assert "no headrace server" in refused(run_headrace("datasets", stranger))


def test_an_address_that_is_no_url_is_refused_with_one_that_is() -> None:
    assert "http://storage:8000" in refused(run_headrace("datasets", "storage"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "served here: flowers"),
        (["flowers"], "train, val"),
        (["flowers", "--split", "trian"], "train, val"),
        (["flowers", "--split", "val", "--transforms", '[{"name":'], "no JSON"),
        (["flowers", "--split", "val", "--transforms", '{"name": "Resize"}'], "list"),
        (["flowers", "--split", "val", "--transforms", '[{"name": "Risize"}]'], "RandomResizedCrop"),
        (["flowers", "--split", "val", "--seed", "-1"], "seed"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_one_line(server: ServerProcess, words: list[str], said: str) -> None:
    assert said in refused(run_headrace("show", server.url, *words))


def test_datasets_lists_splits_and_classes(server: ServerProcess) -> None:
    done = run_headrace("datasets", server.url)
    assert done.returncode == 0
    assert "flowers: train 90, val 13" in done.stdout
    assert "daisy, rose" in done.stdout


def test_the_command_line_itself_loads_no_framework_and_no_server() -> None:
    """Help must answer at once."""
    heavy = "{'tensorflow', 'torch', 'fastapi', 'uvicorn', 'cv2', 'PIL', 'sklearn'}"
    code = f"import sys, headrace.cli; from headrace.commands import show, bench; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
