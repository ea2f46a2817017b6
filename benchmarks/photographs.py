"""Folders of JPEGs to measure with, cut from the photographs that scikit-image and scikit-learn ship."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images

QUALITY = 94
_NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "motorcycle_left.png", "retina.jpg",
          "rocket.jpg")  # fmt: skip
_CLASSES = 10


def photographs() -> list[Image.Image]:
    """The originals, in RGB."""
    folder = Path(skimage.__file__).parent / "data"
    shipped = [Image.open(folder / name).convert("RGB") for name in _NAMES]
    return shipped + [Image.fromarray(array) for array in load_sample_images().images]


def crops(count: int, size: tuple[int, int], seed: int = 0) -> Iterator[Image.Image]:
    """`count` different windows of about `size` (height, width) pixels, each from a random place at a random zoom."""
    random, originals = np.random.default_rng(seed), photographs()
    for number in range(count):
        original = originals[number % len(originals)]
        height, width = (round(side * random.uniform(0.9, 1.1)) for side in size)
        zoom = random.uniform(0.6, 1.0) * min(original.width / width, original.height / height)
        window = width * zoom, height * zoom
        left = random.uniform(0, original.width - window[0])
        top = random.uniform(0, original.height - window[1])
        box = (left, top, left + window[0], top + window[1])
        yield original.resize((width, height), Image.Resampling.BICUBIC, box=box)


def write_jpegs(root: Path, count: int, size: tuple[int, int]) -> Path:
    """Writes class folders of JPEGs, unless they are there already."""
    done = root / ".complete"
    if not done.exists():
        for number, image in enumerate(crops(count, size)):
            path = root / f"class-{number % _CLASSES}" / f"{number:05}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, quality=QUALITY)
        done.touch()
    return root


def write_arrays(count: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """`count` pictures of exactly `size`, decoded: (count, height, width, 3) uint8."""
    return np.stack([np.asarray(image.resize((size[1], size[0]))) for image in crops(count, size)])
