"""JPEGs whose codes are read in C, beside what libjpeg-turbo makes of them by itself."""

from __future__ import annotations

import contextlib
import random
import zlib
from collections.abc import Iterator

import numpy as np
from jpegs import encoded, encoded_variously, smooth, wide

from fuzzing.mutations import mutated
from fuzzing.runner import Target
from headrace_server import jpeg
from headrace_server.jpeg_runs import NATIVE
from headrace_server.native import JpegTask, address_of
from headrace_server.resample import resize
from headrace_server.transforms.windows import cut_out

_MOST_MIB = 64
_MOST_PIXELS = 2**20
_SIZE = (40, 50)


@contextlib.contextmanager
def target() -> Iterator[Target]:
    """Where nothing was compiled, all is refused."""
    seeds = (*encoded_variously(), *wide(), encoded(smooth(64, 121), quality=80, progressive=True))
    yield Target(lambda dice: mutated(dice, seeds), run, _MOST_MIB, first=seeds)


def run(data: bytes) -> str:
    if NATIVE is None:
        return "refused"
    ((height, width),) = NATIVE.look([data])
    if not 0 < height * width <= _MOST_PIXELS:
        return "refused"
    dice = random.Random(zlib.crc32(data))
    window, wanted = _window(dice, height, width), _window(dice, *_SIZE)
    out = np.empty((*wanted[2:], 3), np.uint8)
    factor = dice.choice([factor for factor in (1, 2, 4) if factor == 1 or min(height, width) > 7 * factor])
    smaller = jpeg.NATIVE(data, height, width, factor) if jpeg.NATIVE is not None else None
    made = NATIVE.make([JpegTask(data, height, width, window, _SIZE, False, wanted, address_of(out))]) == [True]
    assert made == (smaller is not None), "not the same are left"
    if not made:
        return "left"
    whole = resize(cut_out(jpeg.by_libjpeg(data, height, width, 1), window, 0), _SIZE)
    assert np.array_equal(out, cut_out(whole, wanted, 0)), "other pixels than by libjpeg"
    assert np.array_equal(smaller, jpeg.by_libjpeg(data, height, width, factor)), "other pixels where it is smaller"
    return "decoded"


def _window(dice: random.Random, height: int, width: int) -> tuple[int, int, int, int]:
    top, left = dice.randrange(height), dice.randrange(width)
    return top, left, dice.randint(1, height - top), dice.randint(1, width - left)
