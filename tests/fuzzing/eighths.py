"""JPEGs at an eighth of their size, decoded in C, beside what libjpeg-turbo makes of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import simplejpeg
from jpegs import encoded_variously, long

from fuzzing.mutations import mutated
from fuzzing.runner import Target
from headrace_server import native
from headrace_server.orientation import jpeg_header

_MOST_MIB = 64
_MOST_PIXELS = 2**20
_LEAST_SIDE = 57
"""Of less than 8 pixels in the result, libjpeg-turbo has several sizes that fit."""
_DECODER = native.eighth_decoder()


@contextlib.contextmanager
def target() -> Iterator[Target]:
    """Where nothing was compiled, all is refused."""
    seeds = (*encoded_variously(), *long())
    yield Target(lambda dice: mutated(dice, seeds), run, _MOST_MIB, first=seeds)


def run(data: bytes) -> str:
    header = jpeg_header(data)
    if _DECODER is None or header is None:
        return "refused"
    height, width = header.height, header.width
    if min(height, width) < _LEAST_SIDE or height * width > _MOST_PIXELS:
        return "refused"
    down, across = -(-height // 8), -(-width // 8)
    image = _DECODER(data, down, across)
    if image is None:
        return "left to libjpeg"
    wanted = simplejpeg.decode_jpeg(data, "RGB", min_height=down, min_width=across, min_factor=8)
    assert np.array_equal(image, wanted), "other pixels than libjpeg's"
    return "decoded"
