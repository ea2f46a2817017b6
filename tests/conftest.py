"""What all tests share: a small dataset, and a server of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import ServerProcess, write_dataset

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


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
