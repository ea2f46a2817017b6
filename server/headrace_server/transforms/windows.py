"""Windows of images: where they lie, and what is in them."""

from __future__ import annotations

import math

import numpy as np

from headrace_server.draws import Draws

from .base import Cut, Image, Window

_WINDOW_TRIES = 10


def middle(side: int, cut: int) -> int:
    """Where a cut from the middle starts, negative if it is padded; rounded as torchvision rounds."""
    return round((side - cut) / 2) if side >= cut else -((cut - side) // 2)


def random_start(draws: Draws, side: int, cut: int, padding: int) -> int:
    """Where a cut from anywhere in a padded side starts; from the middle, where it is longer."""
    spare = side + 2 * padding - cut
    start = draws.integers(0, max(spare, 0) + 1)
    return start - padding if spare >= 0 else middle(side, cut)


def cut_out(image: Image, window: Window, fill: int) -> Image:
    """What is in the window, a view if it lies inside the image; what lies outside is `fill`."""
    top, left, height, width = window
    if top >= 0 and left >= 0 and top + height <= image.shape[0] and left + width <= image.shape[1]:
        return image[top : top + height, left : left + width]
    canvas = np.full((height, width, image.shape[2]), fill, np.uint8)
    inside = image[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
    down, right = max(-top, 0), max(-left, 0)
    canvas[down : down + inside.shape[0], right : right + inside.shape[1]] = inside
    return canvas


def whole_window(window: Window, sides: tuple[int, int]) -> Cut | None:
    """A window that is taken as it is, if it lies inside the picture."""
    top, left, height, width = window
    if top < 0 or left < 0 or top + height > sides[0] or left + width > sides[1]:
        return None
    return Cut(window, window[2:], "nearest", (0, 0, height, width))


def inception_window(
    draws: Draws, sides: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> Window:
    """A random window; after ten that do not fit, the largest in the middle that does.

    Szegedy et al., "Going Deeper with Convolutions", 2015, in the form that torchvision gave it.
    """
    height, width = sides
    logarithms = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(_WINDOW_TRIES):
        area = height * width * draws.uniform(*scale)
        aspect = math.exp(draws.uniform(*logarithms))
        across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            return draws.integers(0, height - down + 1), draws.integers(0, width - across + 1), down, across
    across, down = width, height
    if width / height < ratio[0]:
        down = max(1, round(width / ratio[0]))
    elif width / height > ratio[1]:
        across = max(1, round(height * ratio[1]))
    return (height - down) // 2, (width - across) // 2, down, across
