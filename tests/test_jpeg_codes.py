"""The codes of JPEGs read in place of libjpeg, which makes the same pixels of them, and reads what is odd itself."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from jpegs import encoded, encoded_variously, long, smooth, wide
from numpy.typing import NDArray

from headrace_server import jpeg, jpeg_runs
from headrace_server.native import JpegMaker, JpegTask, address_of, jpegs

pytestmark = pytest.mark.skipif(jpeg_runs.NATIVE is None, reason="not compiled")

FINISH, LEAVE = jpegs._FUNCTIONS.index("jpeg_finish_decompress"), jpegs._FUNCTIONS.index("jpeg_abort_decompress")
NOISE = np.random.default_rng(3).integers(0, 256, (700, 500, 3), np.uint8)
GOOD = encoded(smooth(64, 121), quality=90)


class Counting:
    """A maker that counts the pictures of which libjpeg has read the codes itself."""

    def __init__(self) -> None:
        assert jpeg_runs.NATIVE is not None
        self.read_by_libjpeg = 0
        table = jpeg_runs.NATIVE.libjpeg
        finish = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(table[FINISH])

        def counted(decoder: int) -> int:
            self.read_by_libjpeg += 1
            return int(finish(decoder))

        self._callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(counted)
        self.maker = with_function(FINISH, ctypes.cast(self._callback, ctypes.c_void_p).value)


def with_function(place: int, address: int | None) -> JpegMaker:
    assert jpeg_runs.NATIVE is not None
    functions: Any = (ctypes.c_void_p * len(jpegs._FUNCTIONS))(*jpeg_runs.NATIVE.libjpeg)
    functions[place] = address
    return replace(jpeg_runs.NATIVE, libjpeg=functions)


@pytest.fixture
def counting() -> Counting:
    return Counting()


def window_of(maker: JpegMaker, file: bytes, window: tuple[int, int, int, int]) -> NDArray[np.uint8] | None:
    """(H, W, 3), not resized; None where it was not made."""
    ((height, width),) = maker.look([file])
    out = np.zeros((*window[2:], 3), np.uint8)
    task = JpegTask(file, height, width, window, window[2:], False, (0, 0, *window[2:]), address_of(out))
    return out if maker.make([task]) == [True] else None


def whole(maker: JpegMaker, file: bytes) -> NDArray[np.uint8] | None:
    return window_of(maker, file, (0, 0, *maker.look([file])[0]))


def files_of_every_kind() -> Iterator[bytes]:
    yield from encoded_variously()
    yield from long()
    yield from (
        file for file, kind in zip(wide(), ("444", "422", "420", "440", "411", "Gray"), strict=True) if kind != "411"
    )
    for quality in (1, 100):
        yield encoded(NOISE[:70, :90], quality=quality)
        yield encoded(NOISE[:70, :90], quality=quality, optimize=True, restart_marker_blocks=1)


def test_every_kind_is_read_here_and_becomes_what_libjpeg_makes_of_it(counting: Counting) -> None:
    for file in files_of_every_kind():
        np.testing.assert_array_equal(whole(counting.maker, file), simplejpeg.decode_jpeg(file, "RGB"))
    assert counting.read_by_libjpeg == 0


@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 7}, {"optimize": True}])
def test_scans_that_do_not_fit_into_the_buffer_are_read_here(counting: Counting, options: dict[str, Any]) -> None:
    for subsampling in ("4:4:4", "4:2:0"):
        file = encoded(NOISE, quality=100, subsampling=subsampling, **options)
        assert len(file) > 3 * 2**17
        np.testing.assert_array_equal(whole(counting.maker, file), simplejpeg.decode_jpeg(file, "RGB"))
    assert counting.read_by_libjpeg == 0


@given(
    st.integers(1, 100),
    st.integers(1, 100),
    st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    st.integers(1, 100),
    st.sampled_from([{}, {"restart_marker_blocks": 1}, {"restart_marker_rows": 1}]),
    st.booleans(),
    st.data(),
)
@settings(max_examples=300, deadline=None)
def test_every_window_is_what_libjpeg_makes_of_it(
    height: int, width: int, subsampling: str, quality: int, options: dict[str, Any], noisy: bool, data: st.DataObject
) -> None:
    pixels = NOISE[:height, :width] if noisy else smooth(height, width)
    file = encoded(pixels, quality=quality, subsampling=subsampling, **options)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    down, across = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
    counting = Counting()
    made = window_of(counting.maker, file, (top, left, down, across))
    expected = simplejpeg.decode_jpeg(file, "RGB")[top : top + down, left : left + across]
    np.testing.assert_array_equal(made, expected)
    assert counting.read_by_libjpeg == 0


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_pictures_are_made_smaller_as_by_libjpeg(factor: int) -> None:
    assert jpeg.NATIVE is not None
    for file in (
        *files_of_every_kind(),
        encoded(NOISE, quality=100),
        encoded(NOISE[:57, :64]),
        encoded(NOISE[:64, :57]),
    ):
        height, width, *_ = simplejpeg.decode_jpeg_header(file)
        image = jpeg.NATIVE(file, height, width, factor)
        np.testing.assert_array_equal(image, jpeg.by_libjpeg(file, height, width, factor))
        assert jpeg.NATIVE(file, height + 1, width, factor) is None
        assert jpeg.NATIVE(file, height, width - 1, factor) is None


def changed(data: bytes, before: int, by: bytes, old: int = 0) -> bytes:
    """The bytes with `by` in place of the `old` ones that come `before` so many of the end."""
    return data[: len(data) - before] + by + data[len(data) - before + old :]


ODD = {
    "bytes that fill before the end": (changed(GOOD, 2, b"\xff\xff"), True),
    "an unusual subsampling": (simplejpeg.encode_jpeg(smooth(50, 330), colorsubsampling="411"), True),
    "no end": (GOOD[:-2], False),
    "cut off in the scan": (GOOD[:-200], False),
    "bytes too many": (changed(GOOD, 2, bytes(20)), False),
    "a marker in the scan": (changed(GOOD, 300, b"\xff\xd0", 2), False),
    "ones": (changed(GOOD, 300, b"\xff\x00" * 40, 80), False),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_odd_libjpeg_reads_and_judges(counting: Counting, kind: str) -> None:
    file, is_fine = ODD[kind]
    made = whole(counting.maker, file)
    assert jpeg.NATIVE is not None
    smaller = jpeg.NATIVE(file, *simplejpeg.decode_jpeg_header(file)[:2], 2)
    if is_fine:
        np.testing.assert_array_equal(made, simplejpeg.decode_jpeg(file, "RGB"))
        np.testing.assert_array_equal(smaller, jpeg.by_libjpeg(file, *simplejpeg.decode_jpeg_header(file)[:2], 2))
        assert counting.read_by_libjpeg == 1
    else:
        assert made is None
        assert smaller is None
    np.testing.assert_array_equal(whole(counting.maker, GOOD), simplejpeg.decode_jpeg(GOOD, "RGB"))


def test_a_libjpeg_of_unknown_insides_reads_all_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    without = with_function(LEAVE, None)
    for file in files_of_every_kind():
        np.testing.assert_array_equal(whole(without, file), simplejpeg.decode_jpeg(file, "RGB"))
    assert jpeg_runs.NATIVE is not None
    assert jpeg_runs.NATIVE.libjpeg[LEAVE] is not None
    for version in ("4.0", None):
        monkeypatch.setattr(jpegs.features, "version", lambda _, version=version: version)
        unknown = jpegs._libjpeg.__wrapped__()
        assert unknown[FINISH] is not None
        assert unknown[LEAVE] is None
