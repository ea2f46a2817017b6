"""One-line texts on a picture. Needs Pillow."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from PIL import ImageDraw, ImageFont

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont
Color: TypeAlias = tuple[int, int, int]

_ELLIPSIS = "..."
# Pillow's own font has little beyond ASCII. The systems' fonts with most letters, the widest first.
_WIDE_FONTS = ("NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "DejaVuSans.ttf", "NotoSans-Regular.ttf", "arial.ttf")


@dataclass(frozen=True)
class Lettering:
    """How a line is written: height of the letters in pixels, colour, and Pillow's anchor."""

    size: int
    color: Color
    anchor: str = "la"

    def write(self, pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, room: int) -> None:
        """Writes a text, shortened to `room` pixels."""
        plain = " ".join(text.split())
        font = _wide_font(self.size)
        if plain.isascii() or font is None:
            font, plain = ImageFont.load_default(self.size), _without_accents(plain)
        written = shortened(plain, lambda part: pen.textlength(part, font) <= room)
        pen.text(at, written, self.color, font, self.anchor)


def shortened(text: str, fits: Callable[[str], bool]) -> str:
    """The text, less as much of its middle as must go until it fits: both ends of a name tell it from others."""
    if fits(text):
        return text
    for kept in range(len(text) - 1, 1, -1):
        head = (kept + 1) // 2
        candidate = text[:head].rstrip() + _ELLIPSIS + text[len(text) - (kept - head) :].lstrip()
        if fits(candidate):
            return candidate
    return text[:1]


@functools.lru_cache(maxsize=8)
def _wide_font(size: int) -> Font | None:
    """A font of the system with more than ASCII; None if there is none of those known."""
    for name in _WIDE_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue  # this one is not installed
    return None


def _without_accents(text: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
