"""The handwritten digits that scikit-learn ships, as a folder of images to serve."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigurationError

COUNTS = {"train": 1437, "test": 360}
_EVERY = 5
"""Each fifth digit is for testing."""
_WHITE = 16
"""The brightest value of scikit-learn's digits."""


def write_digits(root: Path) -> bool:
    """Makes sure that `root` holds the digits: 8 x 8 PNG files in class folders, under train and test.

    What is there already stays, so a folder that was left half written is finished. Returns whether anything was
    written. Raises ConfigurationError if it cannot be, if `root` holds other things, or if scikit-learn is missing.
    """
    try:
        _check_is_ours(root)
        if _complete(root):
            return False
        for name, pixels in _digits():
            _write_image(root / name, pixels)
    except OSError as error:
        raise ConfigurationError(f"cannot write images into {root}: {error.strerror or error}") from error
    return True


def _check_is_ours(root: Path) -> None:
    others = sorted(entry.name for entry in root.iterdir() if entry.name not in COUNTS) if root.exists() else []
    if others:
        raise ConfigurationError(
            f"{root} holds other things already, such as {others[0]!r}; name an empty or a new folder with --data"
        )


def _complete(root: Path) -> bool:
    return all(sum(1 for _ in (root / split).glob("*/[0-9]*.png")) >= count for split, count in COUNTS.items())


def _digits() -> Iterator[tuple[PurePath, NDArray[np.uint8]]]:
    """Each digit's path below the root, and its pixels (8, 8)."""
    digits = _load()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        split = "test" if number % _EVERY == 0 else "train"
        yield PurePath(split, str(label), f"{number:04}.png"), np.rint(image * (255 / _WHITE)).astype(np.uint8)


def _load() -> Any:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ConfigurationError(
            "the demo takes its images from scikit-learn, which is missing: pip install scikit-learn"
        ) from error
    return load_digits()


def _write_image(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Writes under a hidden name first, so that no half a file is ever taken for an image."""
    from PIL import Image

    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}")
    Image.fromarray(pixels).save(part, format="PNG")
    os.replace(part, path)
