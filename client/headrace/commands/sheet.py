"""The contact sheet: images in rows, each over its label. Needs Pillow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from headrace.commands.lettering import Lettering
from headrace.commands.pixels import Pixels

_SMALLEST, _LARGEST = 96, 256
"""Pixels: images are enlarged until their longer side has at least the first, and reduced to at most the second."""
_ASPECT = 1.8
"""About how many times wider than high a sheet is."""
_MARGIN, _GAP = 24, 14
_PAPER, _INK, _FAINT = (250, 250, 248), (34, 34, 34), (128, 128, 124)
_TITLE, _NOTE, _LABEL = Lettering(19, _INK), Lettering(13, _FAINT), Lettering(13, _INK, anchor="ma")
_NARROWEST = 440
"""Pixels; so that a sheet of one small image still has room for its title."""


@dataclass(frozen=True)
class Layout:
    """Where things are on a sheet, in pixels."""

    columns: int
    rows: int
    image: tuple[int, int]
    """(width, height) of an image as it is drawn."""
    cell: tuple[int, int]
    """(width, height) from one image to the next."""
    top: int
    """Where the first row begins."""

    @classmethod
    def of(cls, count: int, height: int, width: int) -> Layout:
        """The layout of `count` images of height x width."""
        image = _drawn_size(height, width)
        cell = max(image[0], _SMALLEST) + _GAP, image[1] + _GAP + _LABEL.size + 10
        most = max(1, math.ceil(math.sqrt(count * _ASPECT * cell[1] / cell[0])))
        rows = math.ceil(count / most)
        return cls(math.ceil(count / rows), rows, image, cell, _MARGIN + _TITLE.size + _NOTE.size + 30)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the whole sheet."""
        width = self.columns * self.cell[0] - _GAP + 2 * _MARGIN
        return max(width, _NARROWEST), self.top + self.rows * self.cell[1] - _GAP + _MARGIN

    def place(self, number: int) -> tuple[int, int]:
        """(left, top) of an image's cell."""
        row, column = divmod(number, self.columns)
        return _MARGIN + column * self.cell[0], self.top + row * self.cell[1]


def draw(images: Pixels, labels: Sequence[str], title: str, note: str) -> Image.Image:
    """The sheet of `images`, uint8 (N, H, W, 1 or 3), with one label each, under a title and a fainter note."""
    layout = Layout.of(len(images), *images.shape[1:3])
    sheet = Image.new("RGB", layout.size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    room = layout.size[0] - 2 * _MARGIN
    _TITLE.write(pen, (_MARGIN, _MARGIN), title, room)
    _NOTE.write(pen, (_MARGIN, _MARGIN + _TITLE.size + 8), note, room)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        left, top = layout.place(number)
        wide = layout.cell[0] - _GAP
        sheet.paste(_picture(image, layout.image), (left + (wide - layout.image[0]) // 2, top))
        _LABEL.write(pen, (left + wide / 2, top + layout.image[1] + 6), label, wide)
    return sheet


def _drawn_size(height: int, width: int) -> tuple[int, int]:
    """(width, height) to draw at: whole multiples of a small image, so that its pixels stay squares."""
    longer = max(height, width)
    if longer < _SMALLEST:
        factor = math.ceil(_SMALLEST / longer)
        return width * factor, height * factor
    scale = min(1.0, _LARGEST / longer)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _picture(image: Pixels, size: tuple[int, int]) -> Image.Image:
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).convert("RGB")
    if picture.size == size:
        return picture
    enlarged = size[0] > picture.size[0]
    return picture.resize(size, Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS)
