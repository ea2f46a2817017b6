"""What all tests share: a small dataset, and a server of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import make_certificates
from harness import LONG, Record, ServerProcess, write_dataset

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture
def record(capsys: pytest.CaptureFixture[str]) -> Record:
    def said(figure: str) -> None:
        if LONG:
            with capsys.disabled():
                sys.stdout.write(f"\nfigure: {figure}\n")

    return said


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files: ca.pem, server.pem, server.key, client.pem, client.key."""
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """103 labelled pictures: train with 53 and 37 of two classes, val with 13."""
    root = tmp_path_factory.mktemp("data") / "flowers"
    return write_dataset(root, {"train/daisy": 53, "train/rose": 37, "val/daisy": 6, "val/rose": 7})


@pytest.fixture(scope="session")
def server(flowers: Path) -> Iterator[ServerProcess]:
    """A server of `flowers`, whose plans end in Resize((16, 16)) where they name no transforms."""
    transforms = '[{"name": "Resize", "size": [16, 16]}]'
    with ServerProcess(flowers, "--transforms", transforms) as running:
        yield running


@pytest.fixture(scope="session")
def oddities(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of `one` (a single picture), `flat` (10 without labels), `names` (one is not UTF-8), and of `damaged`
    and `worse`: 200 pictures each, of which 2 (at 20 and 150) and 3 (at 90 too) cannot be decoded."""
    root = tmp_path_factory.mktemp("oddities")
    write_dataset(root, {"one/a": 1, "flat": 10, "names/a": 3, "damaged/a": 200, "worse/a": 200})
    (root / "names" / "a" / "00001.png").rename(root / "names" / "a" / os.fsdecode(b"\xff.png"))
    (root / "names" / "a" / "00002.png").rename(root / "names" / "a" / "größer.png")
    for name, numbers in {"damaged": (20, 150), "worse": (20, 90, 150)}.items():
        for number in numbers:
            path = root / name / "a" / f"{number:05}.png"
            path.write_bytes(path.read_bytes()[:60])
    folders = [root / name for name in ("one", "flat", "names", "damaged", "worse")]
    with ServerProcess(*folders, "--transforms", '[{"name": "Resize", "size": [8, 8]}]') as running:
        yield running
