"""A sample that one server cannot read is had from another; an error names it only when all have failed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from harness import ServerProcess, write_dataset

import headrace

ARGUMENTS = ("--transforms", '[{"name": "Resize", "size": [16, 16]}]', "--read-retries", "1")
BAD = "a/00017.png"


def vanish(path: Path) -> None:
    path.unlink()


def change(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def hang(path: Path) -> None:
    """A pipe that nobody writes to, in the file's place: it is no file of the index, and must hold nobody up."""
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("harm", [vanish, change, hang])
def test_a_sample_is_had_from_the_server_that_can_read_it(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    one = write_dataset(tmp_path / "one" / "birds", {"a": 60})
    other = Path(shutil.copytree(one, tmp_path / "other" / "birds"))  # with the times of modification: the same data
    with ServerProcess(one, *ARGUMENTS) as first, ServerProcess(other, *ARGUMENTS) as second:
        with headrace.connect(first.url) as client:
            expected = list(client.dataset("birds", batch_size=4, shuffle=True))
        harm(one / BAD)
        with headrace.connect([first.url, second.url]) as client:
            found = list(client.dataset("birds", batch_size=4, shuffle=True))
            assert [list(batch["key"]) for batch in found] == [list(batch["key"]) for batch in expected]
            assert all(np.array_equal(*images) for images in zip(*map(images_of, (found, expected)), strict=True))
            assert not any(batch.replaced for batch in found)
        harm(other / BAD)
        with (
            headrace.connect([first.url, second.url]) as client,
            pytest.raises(headrace.SampleFailed, match=BAD) as error,
        ):
            list(client.dataset("birds", batch_size=4, shuffle=True))
        assert error.value.key == BAD
        assert error.value.retry


def images_of(batches: list[headrace.Batch]) -> list[np.ndarray]:
    return [batch["image"] for batch in batches]
