"""The images' recipes: what they hold, who runs in them, and that they fit the package and each other."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest
from harness import ServerProcess

from headrace_server.settings import Settings

ROOT = Path(__file__).parent.parent
COMPOSE = (ROOT / "docker-compose.yml").read_text()


class Step(NamedTuple):
    word: str
    rest: str


class Stage(NamedTuple):
    name: str
    base: str
    steps: list[Step]


def stages(name: str) -> dict[str, Stage]:
    """The stages of a recipe, in their order, by name."""
    found: dict[str, Stage] = {}
    lines = (line for line in (ROOT / "docker" / name).read_text().splitlines() if not line.lstrip().startswith("#"))
    for step in re.findall(r"^([A-Z]+)\s+(.*)$", "\n".join(lines).replace("\\\n", " "), re.MULTILINE):
        if step[0] == "FROM":
            base, _, stage = step[1].partition(" AS ")
            found[stage] = Stage(stage, base, [])
        elif found:
            list(found.values())[-1].steps.append(Step(*step))
    return found


def image(name: str, target: str | None = None) -> list[Step]:
    """What makes the final image: the steps of its stage and of the stages that it is based on."""
    known = stages(name)
    stage = known[target] if target else list(known.values())[-1]
    return [*(image(name, stage.base) if stage.base in known else []), *stage.steps]


def last(steps: list[Step], word: str) -> str:
    return [step.rest for step in steps if step.word == word][-1]


def variables(steps: list[Step]) -> dict[str, str]:
    return dict(pair.split("=", 1) for step in steps if step.word == "ENV" for pair in step.rest.split())


def section(text: str, name: str) -> str:
    """The lines below `name:` that are indented more than it is."""
    match = re.search(rf"^( *){name}:[^\n]*\n((?:\1 +[^\n]*\n|\n)*)", text, re.MULTILINE)
    assert match is not None, f"docker-compose.yml has no section {name!r}"
    return match[2]


def services() -> list[str]:
    return re.findall(r"^  (\w+):$", section(COMPOSE, "services"), re.MULTILINE)


RECIPES = ["server.Dockerfile", "trainer.Dockerfile"]
IMAGES = [("server.Dockerfile", None), ("server.Dockerfile", "demo"), ("trainer.Dockerfile", None)]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_stage_starts_from_a_slim_python_of_a_pinned_version_or_from_another_stage(recipe: str) -> None:
    default = re.search(r"^ARG PYTHON=(\d+)\.(\d+)$", (ROOT / "docker" / recipe).read_text(), re.MULTILINE)
    assert default is not None
    assert (int(default[1]), int(default[2])) >= (3, 10)
    for stage in stages(recipe).values():
        assert stage.base == "python:${PYTHON}-slim" or stage.base in stages(recipe)


@pytest.mark.parametrize(("recipe", "target"), IMAGES)
def test_an_image_does_not_run_as_root(recipe: str, target: str | None) -> None:
    steps = image(recipe, target)
    user = last(steps, "USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user), "a fixed number, which Kubernetes can check"
    uid = user.split(":")[0]
    assert any(f"useradd --uid {uid} " in step.rest for step in steps if step.word == "RUN")


@pytest.mark.parametrize(("recipe", "target"), IMAGES)
def test_what_is_installed_is_pinned_and_stays_out_of_the_final_stage(recipe: str, target: str | None) -> None:
    runs = [step.rest for stage in stages(recipe).values() for step in stage.steps if step.word == "RUN"]
    installs = [command for run in runs for command in run.split("&&") if "pip" in command and " install " in command]
    assert len(installs) >= 2
    assert all("--constraint constraints.txt" in command for command in installs)
    assert not any("pip " in step.rest or "apt-get" in step.rest for step in image(recipe, target))


@pytest.mark.parametrize("target", [None, "demo"])
def test_the_server_has_nothing_to_train_with(target: str | None) -> None:
    known = stages("server.Dockerfile")
    assert "[server]" in str(known["build"].steps)
    assert not re.search("tensorflow|torch|scikit", str(known["build"].steps + image("server.Dockerfile", target)))
    copied = re.findall(r"--from=(\w+) (\S+)", str(image("server.Dockerfile", target)))
    assert copied == [("build", "/opt/headrace"), ("digits", "/digits")][: 1 if target is None else 2]


def test_the_trainer_gets_tensorflow_and_not_the_server_s_packages() -> None:
    build = str(stages("trainer.Dockerfile")["build"].steps)
    assert "TENSORFLOW=tensorflow-cpu" in build
    assert "[server]" not in build


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_is_copied_is_in_the_tree_and_let_through_to_the_builder(recipe: str) -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copies = [step.rest for stage in stages(recipe).values() for step in stage.steps if step.word == "COPY"]
    sources = [source for copy in copies if "--from=" not in copy for source in copy.split()[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert any(fnmatch(source, pattern) for pattern in allowed), f"{source} is left out by .dockerignore"


@pytest.mark.parametrize(("recipe", "target"), IMAGES)
def test_an_image_sets_options_that_exist_and_writes_no_bytecode(recipe: str, target: str | None) -> None:
    values = variables(image(recipe, target))
    assert values["PYTHONDONTWRITEBYTECODE"] == "1"
    options = {name.removeprefix("HEADRACE_").lower() for name in values if name.startswith("HEADRACE_")}
    assert options <= set(Settings.model_fields)
    if recipe == "server.Dockerfile":
        assert values["HEADRACE_HOST"] == "0.0.0.0"


def test_the_server_starts_the_program_itself_and_is_stopped_by_sigterm() -> None:
    steps = image("server.Dockerfile")
    assert json.loads(last(steps, "ENTRYPOINT")) == ["headrace"]
    assert json.loads(last(steps, "CMD")) == ["serve", "/data"]
    assert last(steps, "STOPSIGNAL") == "SIGTERM"
    assert last(steps, "EXPOSE") == str(Settings.model_fields["port"].default)


def health(port: int) -> int:
    """The exit status of the image's own check, against a server on `port`."""
    word, _, command = last(image("server.Dockerfile"), "HEALTHCHECK").partition("CMD ")
    assert "--timeout=" in word
    program, *arguments = json.loads(command)
    assert program == "python"
    proxied = {**os.environ, "HEADRACE_PORT": str(port), "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    return subprocess.run([sys.executable, *arguments], env=proxied, capture_output=True, check=False).returncode


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that is taken and that nobody answers."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def test_the_health_check_tells_a_server_from_none_whatever_proxy_is_set(
    server: ServerProcess, silent_port: int
) -> None:
    assert health(server.port) == 0
    assert health(silent_port) == 1


def test_compose_runs_a_server_and_a_trainer_both_confined() -> None:
    assert services() == ["server", "trainer"]
    confinement = section(COMPOSE, "x-confined")
    for line in ("read_only: true", "tmpfs: [/tmp]", "cap_drop: [ALL]", '"no-new-privileges:true"'):
        assert line in confinement
    for service in services():
        assert "<<: *confined" in section(COMPOSE, service)
        assert not re.search("privileged: true|cap_add|user:", section(COMPOSE, service))


@pytest.mark.parametrize("service", ["server", "trainer"])
def test_compose_builds_stages_that_exist(service: str) -> None:
    build = section(section(COMPOSE, service), "build")
    recipe = re.search(r"dockerfile: docker/(\S+)", build)
    assert recipe is not None
    target = re.search(r"target: (\S+)", build)
    assert image(recipe[1], target and target[1])


def test_the_trainer_waits_until_the_server_is_healthy_and_trains_from_it() -> None:
    trainer = section(COMPOSE, "trainer")
    assert "condition: service_healthy" in section(section(trainer, "depends_on"), "server")
    command = re.search(r"command: \[(.*)\]", trainer)
    assert command is not None
    words = [word.strip(' "') for word in command[1].split(",")]
    assert words == json.loads(last(image("trainer.Dockerfile"), "CMD"))
    assert words[-1] == f"http://server:{last(image('server.Dockerfile'), 'EXPOSE')}"
    assert words[:2] == ["python", "-m"]
    assert importlib.util.find_spec(words[2]) is not None


def test_no_recipe_names_an_address_or_a_secret() -> None:
    for path in [*(ROOT / "docker").iterdir(), ROOT / "docker-compose.yml", ROOT / "docs" / "containers.md"]:
        addresses = re.findall(r"https?://([\w.-]+)", path.read_text())
        assert set(addresses) <= {"server", "storage", "127.0.0.1"}, path
        assert not re.search(r"index-url|find-links", path.read_text()), path
