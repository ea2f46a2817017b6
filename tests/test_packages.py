"""The packages: what is public, what imports what, and what is in the wheel."""

from __future__ import annotations

import ast
import email.parser
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

import headrace

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "headrace_proto": ROOT / "proto_schemas" / "headrace_proto",
    "headrace_server": ROOT / "server" / "headrace_server",
    "headrace": ROOT / "client" / "headrace",
}
PUBLIC = [
    "Batch",
    "CenterCrop",
    "Client",
    "ColorJitter",
    "ConnectionFailed",
    "Custom",
    "DataChanged",
    "Dataset",
    "Grayscale",
    "HeadraceError",
    "Normalize",
    "NotHeadrace",
    "PlanRefused",
    "RandomCrop",
    "RandomFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RequestRefused",
    "Resize",
    "SampleFailed",
    "ServiceError",
    "StateMismatch",
    "Stats",
    "StreamBroken",
    "TooManyReplaced",
    "Unauthorized",
    "UsageError",
    "VersionMismatch",
    "__version__",
    "connect",
]
HEAVY = ("tensorflow", "torch", "keras", "fastapi", "starlette", "uvicorn", "pydantic", "PIL", "cv2", "headrace_server")


def modules(package: str) -> list[Path]:
    return sorted(PACKAGES[package].rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The first words of all that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            names.add(node.module.partition(".")[0])
    return names


def test_the_public_names_are_these_and_all_are_there() -> None:
    assert headrace.__all__ == PUBLIC
    assert all(hasattr(headrace, name) for name in PUBLIC)
    offered = {name for name in vars(headrace) if not name.startswith("_")}
    assert offered - set(PUBLIC) <= {path.stem for path in PACKAGES["headrace"].iterdir()}


@pytest.mark.parametrize("module", ["headrace", "headrace.cli", "headrace.commands.datasets", "headrace_proto"])
def test_importing_the_light_package_loads_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print(*sorted(name for name in {HEAVY!r} if name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert loaded.stdout.split() == []


def test_importing_the_light_package_starts_no_thread_and_changes_no_environment() -> None:
    script = (
        "import os, threading; was = dict(os.environ); import headrace; "
        "print(threading.active_count(), was == os.environ)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["1", "True"]


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("headrace_proto", {"headrace", "headrace_server", "httpx", "fastapi", "pydantic"}),
        ("headrace_server", {"headrace", "httpx", "tensorflow", "torch", "keras"}),
        ("headrace", {"headrace_server", "fastapi", "starlette", "uvicorn", "pydantic", "cv2", "simplejpeg"}),
    ],
)
def test_each_side_imports_only_the_contract(package: str, forbidden: set[str]) -> None:
    assert len(modules(package)) > 5
    found = {path.name: names for path in modules(package) if (names := imported(path) & forbidden)}
    assert found == {}


def test_frameworks_are_imported_by_their_adapters_alone() -> None:
    """And by commands that train; the dataset names one for type checkers only."""
    core = [path for path in modules("headrace") if path.parent == PACKAGES["headrace"]]
    assert {path.name for path in core if imported(path) & {"tensorflow", "torch", "keras"}} <= {"dataset.py"}
    adapters = {path.name: imported(path) for path in (PACKAGES["headrace"] / "adapters").iterdir() if path.is_file()}
    assert "tensorflow" in adapters["tensorflow.py"] - adapters["torch.py"]
    assert "torch" in adapters["torch.py"] - adapters["tensorflow.py"]


def test_no_source_root_is_itself_a_package() -> None:
    assert not [path for path in PACKAGES.values() if (path.parent / "__init__.py").exists()]
    assert all((path / "py.typed").exists() for path in PACKAGES.values())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from the tree without any network."""
    out = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_three_packages_and_no_more(wheel: zipfile.ZipFile) -> None:
    with wheel as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert {name.partition("/")[0] for name in held} == set(PACKAGES)
        for package, folder in PACKAGES.items():
            ours = {f"{package}/{path.relative_to(folder)}" for path in folder.rglob("*.py")}
            assert {name for name in held if name.startswith(f"{package}/") and name.endswith(".py")} == ours
            assert f"{package}/py.typed" in held
        assert not [name for name in held if name.endswith(".pyc") or "/." in name]


def test_the_wheel_brings_three_packages_and_the_rest_as_extras(wheel: zipfile.ZipFile) -> None:
    info = f"headrace-{headrace.__version__}.dist-info"
    with zipfile.ZipFile(str(wheel.filename)) as archive:
        metadata = email.parser.Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        entries = ConfigParser()
        entries.read_string(archive.read(f"{info}/entry_points.txt").decode())
    required = [line for line in metadata.get_all("Requires-Dist") or [] if "extra ==" not in line]
    assert sorted(line.partition(">")[0] for line in required) == ["httpx", "msgpack", "numpy"]
    assert {"server", "tensorflow", "torch", "dev"} <= set(metadata.get_all("Provides-Extra") or [])
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["Version"] == headrace.__version__
    assert entries["console_scripts"]["headrace"] == "headrace.cli:main"
    assert {"serve", "demo"} <= set(entries["headrace.commands"])


def test_the_wheel_works_without_the_tree(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """Unpacked elsewhere, the client is imported from there."""
    with zipfile.ZipFile(str(wheel.filename)) as archive:
        archive.extractall(tmp_path)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import headrace; "
        "print(headrace.__file__, headrace.Resize(3).to_json())"
    )
    words = [sys.executable, "-P", "-c", script, str(tmp_path)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split()[0] == str(tmp_path / "headrace" / "__init__.py")
