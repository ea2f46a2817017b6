"""The server's options: flags, environment, file; and what a wrong one gets."""

from __future__ import annotations

import argparse
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from harness import ServerProcess, run_headrace, write_dataset, write_image

from headrace_server.catalog import open_dataset
from headrace_server.commands.serve import Serve, settings_of
from headrace_server.errors import ConfigurationError
from headrace_server.settings import DatasetSettings, Settings, load_settings
from headrace_server.transforms.custom import CustomTransforms

RESIZE = [{"name": "Resize", "size": [8, 8]}]
CROP = [{"name": "CenterCrop", "size": 9}]

# Each option, and three values of it that differ from each other and from the default.
VALUES: dict[str, tuple[Any, Any, Any]] = {
    "data": (["a"], ["b", "c=d"], ["e", "f=g"]),
    "datasets": ({"a": {"path": "p"}}, {"b": {"path": "q", "on_error": "raise"}}, {"c": {"path": "r"}}),
    "host": ("::1", "0.0.0.0", "localhost"),
    "port": (1, 2, 3),
    "tokens": (["a" * 16], ["b" * 16, "c" * 16 + " d*"], ["e" * 16]),
    "tokens_file": (Path("a"), Path("b"), Path("c")),
    "tls_cert": (Path("a"), Path("b"), Path("c")),
    "tls_key": (Path("a"), Path("b"), Path("c")),
    "tls_client_ca": (Path("a"), Path("b"), Path("c")),
    "insecure": (True, False, True),
    "transforms": (RESIZE, CROP, [*RESIZE, {"name": "RandomFlip"}]),
    "on_error": ("raise", "replace", "raise"),
    "replace_budget": (0.5, 0.25, 0.0),
    "fingerprint": ("content", "names", "content"),
    "index_dir": (Path("a"), Path("b"), Path("c")),
    "rescan": ("always", "never", "always"),
    "custom_transforms": ({"a": "b:c"}, {"d": "e:f"}, {"g": "h:i"}),
    "processes": (2, 3, 4),
    "decode_threads": (61, 62, 63),
    "read_threads": (5, 6, 7),
    "memory_mb": (10, 20, 30),
    "share_mb": (11, 21, 0),
    "cache_mb": (12, 22, 32),
    "queue_batches": (2, 3, 4),
    "max_batch_mb": (11, 12, 13),
    "max_megapixels": (1.5, 2.5, 3.5),
    "max_file_mb": (1, 2, 3),
    "read_retries": (0, 1, 2),
    "max_streams": (1, 2, 3),
    "stall_timeout": (1.5, 2.5, 3.5),
    "read_timeout": (1.5, 2.5, 3.5),
    "ping_seconds": (0.5, 1.5, 2.5),
    "grace_seconds": (0.0, 1.0, 2.0),
    "log_level": ("debug", "warning", "error"),
    "log_format": ("text", "json", "text"),
}


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, so that no headrace.toml is there."""
    monkeypatch.chdir(tmp_path)


def parsed(*words: str) -> Settings:
    """The settings that `headrace serve` makes of a command line."""
    parser = argparse.ArgumentParser()
    Serve().add_arguments(parser)
    return settings_of(parser.parse_args(words))


def flag(name: str, value: Any) -> list[str]:
    if name == "data":
        return list(value)
    return [f"--{name.replace('_', '-')}", text(value)]


def text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (list, dict)) else str(value)


def toml(name: str, value: Any) -> str:
    """One key of TOML, whose inline tables are JSON's but for the colon."""
    return f"{name} = {_inline(value)}\n"


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value)


def plain(value: Any) -> Any:
    """Settings as the plain data that they were given as."""
    if isinstance(value, DatasetSettings):
        return {key: str(item) if key == "path" else item for key, item in value.model_dump(exclude_none=True).items()}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def refusal(*words: str) -> str:
    """The one line that a command line is refused with."""
    with pytest.raises(ConfigurationError) as caught:
        parsed(*words)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_every_option_is_tested_below() -> None:
    assert set(VALUES) == set(Settings.model_fields)


@pytest.mark.parametrize("name", VALUES)
def test_an_option_is_a_flag_and_a_variable_and_a_key_and_the_first_wins(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_file, in_environment, as_flag = VALUES[name]
    (tmp_path / "headrace.toml").write_text(toml(name, in_file))
    assert plain(getattr(parsed(), name)) == in_file
    monkeypatch.setenv(f"HEADRACE_{name.upper()}", text(in_environment))
    assert plain(getattr(parsed(), name)) == in_environment
    assert plain(getattr(parsed(*flag(name, as_flag)), name)) == as_flag


def test_one_folder_in_the_environment_needs_no_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_DATA", "./flowers")
    assert parsed().data == ["./flowers"]


def test_a_file_elsewhere_is_named_by_config_and_the_one_here_is_not_read_then(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("port = 1\n")
    (tmp_path / "other.toml").write_text("host = 'h'\n")
    settings = parsed("--config", "other.toml")
    assert (settings.host, settings.port) == ("h", 8000)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("port", "abc", "valid integer"),
        ("port", "70000", "65535"),
        ("on_error", "ignore", "'replace' or 'raise'"),
        ("replace_budget", "2", "less than or equal to 1"),
        ("replace_budget", "nan", "finite"),
        ("max_megapixels", "inf", "finite"),
        ("decode_threads", "0", "greater than or equal to 1"),
        ("ping_seconds", "0", "greater than 0"),
        ("log_level", "loud", "'debug'"),
        ("transforms", "[{", "JSON"),
        ("transforms", '[{"size": 3}]', "name"),
        ("transforms", '[{"name": "Resize", "size": 0}]', "16384"),
        ("transforms", '{"name": "Resize"}', "list"),
        ("custom_transforms", "[1]", "dictionary"),
        ("datasets", '{"a": 1}', "dictionary"),
    ],
)
def test_a_wrong_value_gives_one_line_that_names_the_option_what_was_found_and_what_was_expected(
    name: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for line in (refusal(*flag(name, value)), _refused_variable(name, value, monkeypatch)):
        assert line.startswith(f"option {name}")
        assert expected in line
        assert "found" in line


def test_a_list_in_the_environment_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    line = _refused_variable("data", '["a"', monkeypatch)
    assert line.startswith("option data: expected JSON")


def _refused_variable(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(f"HEADRACE_{name.upper()}", value)
    return refusal()


def test_every_wrong_option_is_named_at_once() -> None:
    line = refusal("--port", "x", "--log-level", "y")
    assert "option port" in line
    assert "option log_level" in line


def test_an_unknown_key_is_refused_naming_the_options(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("prot = 1\n")
    line = refusal()
    assert "'prot'" in line
    assert all(name in line for name in Settings.model_fields)


def test_an_unknown_key_of_a_dataset_is_refused_naming_those_of_datasets(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[datasets.a]\npath = 'p'\nfolder = 'q'\n")
    line = refusal()
    assert "'datasets.a.folder'" in line
    assert "path, transforms, on_error, replace_budget, fingerprint" in line
    assert "log_level" not in line


def test_a_datasets_wrong_transform_is_refused_naming_it(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[datasets.a]\npath = 'p'\ntransforms = [{name = 'Resize', size = 0}]\n")
    line = refusal()
    assert line.startswith("option datasets.a.transforms:")
    assert "size" in line


@pytest.mark.parametrize("content", [b"port = = 1\n", b"host = '\xff'\n"])
def test_a_file_that_is_not_toml_is_named_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_bytes(content)
    assert "headrace.toml is not TOML" in refusal()


def test_a_configuration_file_that_is_not_there_is_named() -> None:
    assert "no/such.toml" in refusal("--config", "no/such.toml")


def test_a_dataset_is_named_after_its_folder_or_as_is_said(tmp_path: Path) -> None:
    settings = load_settings({"data": ["./flowers/", "birds=/data/cub", "./a=b/c"]})
    named = {name: dataset.path for name, dataset in settings.all_datasets().items()}
    assert named == {"flowers": Path("flowers"), "birds": Path("/data/cub"), "c": Path("a=b/c")}
    (tmp_path / "here").mkdir()
    assert list(load_settings({"data": [str(tmp_path / "here" / ".." / "here" / ".")]}).all_datasets()) == ["here"]


def test_a_dataset_of_the_table_has_the_servers_options_where_it_has_none_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text(
        "on_error = 'raise'\nreplace_budget = 0.5\ndata = ['plain']\n"
        "[datasets.own]\npath = 'p'\non_error = 'replace'\nreplace_budget = 0\nfingerprint = 'content'\n"
        "transforms = [{name = 'CenterCrop', size = 9}]\n"
    )
    datasets = parsed("--transforms", json.dumps(RESIZE)).all_datasets()
    assert plain(datasets["own"]) == {
        "path": "p",
        "on_error": "replace",
        "replace_budget": 0.0,
        "fingerprint": "content",
        "transforms": CROP,
    }
    assert plain(datasets["plain"]) == {
        "path": "plain",
        "on_error": "raise",
        "replace_budget": 0.5,
        "fingerprint": "names",
        "transforms": RESIZE,
    }


def test_two_datasets_of_the_same_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"two datasets are named 'flowers'.*NAME=PATH"):
        parsed("a/flowers", "b/flowers").all_datasets()
    (tmp_path / "headrace.toml").write_text("[datasets.flowers]\npath = 'a'\n")
    with pytest.raises(ConfigurationError, match="'flowers' is given twice"):
        parsed("b/flowers").all_datasets()


def test_nothing_to_serve_is_refused_with_an_example() -> None:
    with pytest.raises(ConfigurationError, match=r"nothing to serve.*headrace serve"):
        parsed().all_datasets()


def test_default_transforms_that_make_no_batch_are_refused_naming_the_dataset(flowers: Path) -> None:
    dataset = DatasetSettings(path=flowers, transforms=[{"name": "Resize", "size": 8}])
    with pytest.raises(ConfigurationError, match=r"dataset f: .*add CenterCrop"):
        open_dataset("f", dataset, CustomTransforms({}), lambda name, files: None)


def test_a_default_transform_that_does_not_exist_is_refused_naming_those_that_do(flowers: Path) -> None:
    dataset = DatasetSettings(path=flowers, transforms=[{"name": "Resizing", "size": 8}])
    with pytest.raises(ConfigurationError, match=r"dataset f: .*'Resizing'.*Resize, "):
        open_dataset("f", dataset, CustomTransforms({}), lambda name, files: None)


def test_a_file_that_vanishes_while_its_content_is_hashed_is_one_line(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 0)
    dataset = DatasetSettings(
        path=tmp_path, transforms=RESIZE, fingerprint="content", on_error="raise", replace_budget=0
    )
    with pytest.raises(ConfigurationError, match=r"a\.png: read: the file is gone"):
        open_dataset(
            "f", dataset, CustomTransforms({}), lambda name, files: (tmp_path / "a.png").unlink(missing_ok=True)
        )


def test_help_mentions_every_option_with_its_default() -> None:
    shown = run_headrace("serve", "--help")
    assert shown.returncode == 0
    for name in Settings.model_fields:
        assert name == "data" or f"--{name.replace('_', '-')}" in shown.stdout
    assert "headrace serve ./flowers" in shown.stdout
    assert shown.stderr == ""


def refused_to_serve(*words: str | Path) -> str:
    """The one line on stderr of a server that does not start."""
    ended = run_headrace("serve", *words, timeout=20)
    assert ended.returncode == 1
    lines = ended.stderr.splitlines()
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("headrace serve: ")
    assert ended.stdout == ""
    return lines[0]


def test_a_path_that_is_not_there_and_one_that_is_a_file_are_named(tmp_path: Path) -> None:
    missing, file = tmp_path / "no such folder", tmp_path / "file.png"
    write_image(file, 0)
    assert f"{missing} does not exist" in refused_to_serve(missing)
    assert f"{file} is not a folder" in refused_to_serve(file)


def test_a_folder_without_images_is_named_with_what_was_looked_for(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("x")
    line = refused_to_serve(empty, "--port", "0")
    assert str(empty) in line
    assert ".jpeg" in line
    assert "1 not an image" in line


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", {"a": 1})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused_to_serve(data, "--port", str(port))
    assert f"127.0.0.1 port {port}: Address already in use" in line


def test_a_custom_transform_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "d", {"a": 1})
    line = refused_to_serve(data, "--port", "0", "--custom-transforms", '{"Blur": "no_such_module:blur"}')
    assert "'Blur' (no_such_module:blur)" in line


def test_a_server_takes_its_options_from_a_file_and_the_environment(tmp_path: Path) -> None:
    """The whole way: one process, with two folders in the file, one of them with options of its own."""
    one, two = write_dataset(tmp_path / "one", {"a": 1}), write_dataset(tmp_path / "two", {"b": 2})
    file = tmp_path / "c.toml"
    file.write_text(f"data = ['{one}']\nmax_batch_mb = 7\n[datasets.second]\npath = '{two}'\non_error = 'raise'\n")
    with ServerProcess("--config", file, env={"HEADRACE_REPLACE_BUDGET": "0.125"}) as server:
        shown = run_headrace("datasets", server.url)
        assert shown.returncode == 0
        assert "one" in shown.stdout
        assert "second" in shown.stdout
    assert not server.errors[:-1]
