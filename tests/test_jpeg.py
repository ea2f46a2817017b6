"""An eighth of a JPEG, decoded in C, is what libjpeg-turbo makes of it, and anything unusual is left to that."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from jpegs import encoded, encoded_variously, long, smooth
from numpy.typing import NDArray

from headrace_server import jpeg
from headrace_server.decode import Decoded, decode_scaled
from headrace_server.native import eighth_decoder

DECODER = eighth_decoder()
pytestmark = pytest.mark.skipif(DECODER is None, reason="not compiled")


def by_libjpeg(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    down, across = -(-height // 8), -(-width // 8)
    return simplejpeg.decode_jpeg(data, "RGB", min_height=down, min_width=across, min_factor=8)  # type: ignore[no-any-return]


def in_c(data: bytes, height: int, width: int) -> NDArray[np.uint8] | None:
    assert DECODER is not None
    return DECODER(data, -(-height // 8), -(-width // 8))


def check(data: bytes, height: int, width: int) -> None:
    image = in_c(data, height, width)
    assert image is not None
    assert np.array_equal(image, by_libjpeg(data, height, width))


def test_the_decoder_is_in_use() -> None:
    assert jpeg.EIGHTH is not None


def test_every_kind_of_baseline_jpeg_is_decoded_to_libjpegs_pixels() -> None:
    for data in itertools.chain(encoded_variously(), long()):
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        check(data, height, width)


@settings(max_examples=200, deadline=None)
@given(
    height=st.integers(57, 200),  # of less than 8 pixels in the result, libjpeg has several sizes that fit
    width=st.integers(57, 200),
    quality=st.integers(1, 100),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    contrast=st.sampled_from([1, 128, 255]),
    options=st.sampled_from([{}, {"restart_marker_blocks": 3}, {"optimize": True}, {"comment": b"x"}]),
)
def test_any_size_and_quality_is(
    height: int, width: int, quality: int, subsampling: str, contrast: int, options: dict[str, Any]
) -> None:
    """Of the highest contrast, each pixel's channels are 0 or 255."""
    pixels = smooth(height, width, seed=height * width)
    pixels = (pixels // contrast * contrast).astype(np.uint8)
    check(encoded(pixels, quality=quality, subsampling=subsampling, **options), height, width)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(57, 1200),
    width=st.integers(57, 1200),
    quality=st.integers(1, 100),
    options=st.sampled_from([{}, {"restart_marker_rows": 4}, {"optimize": True}]),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
)
def test_large_ones_are_put_together_right(
    height: int, width: int, quality: int, subsampling: str, options: dict[str, Any]
) -> None:
    """Up to several buffers of bytes, each read by lanes that begin in its middle."""
    check(encoded(smooth(height, width), quality=quality, subsampling=subsampling, **options), height, width)


def test_noise_of_the_highest_quality_is_decoded() -> None:
    """All blocks have all coefficients, and most codes are long."""
    noise = np.random.default_rng(1).integers(0, 256, (1000, 1000, 3), np.uint8)
    for subsampling in ("4:4:4", "4:2:0"):
        check(encoded(noise, quality=100, subsampling=subsampling), 1000, 1000)


def test_colours_of_half_the_height_of_the_brightness_are_decoded() -> None:
    """Pillow does not write it, but cameras that turn pictures do: 1x2 in place of 2x1."""
    data = bytearray(encoded(smooth(64, 96), subsampling="4:2:2"))
    frame = data.index(b"\xff\xc0")
    assert data[frame + 11] == 0x21
    data[frame + 11] = 0x12
    data[frame + 5 : frame + 9] = bytes([0, 96, 0, 64])  # as many units, in another arrangement
    check(bytes(data), 96, 64)


@pytest.mark.parametrize(
    "options",
    [{"progressive": True}, {"keep_rgb": True}, {"smooth": 0, "qtables": [[1] * 64, [255] * 64]}],
    ids=["progressive", "RGB", "rough"],
)
def test_unusual_ones_come_out_alike(options: dict[str, Any]) -> None:
    data = encoded(smooth(80, 120), **options)
    picture = decode_scaled(data, lambda height, width: 8)
    assert np.array_equal(picture.image, by_libjpeg(data, 80, 120))


def test_progressive_ones_and_other_colours_are_left_to_libjpeg() -> None:
    pixels = smooth(80, 120)
    assert in_c(encoded(pixels, progressive=True), 80, 120) is None
    assert in_c(encoded(pixels, keep_rgb=True), 80, 120) is None
    assert in_c(encoded(pixels, mode="CMYK"), 80, 120) is None


def test_another_size_than_the_files_is_left_to_libjpeg() -> None:
    data = encoded(smooth(80, 120))
    assert in_c(data, 80, 129) is None
    assert in_c(data, 72, 120) is None


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def profile(*pieces: tuple[int, int, bytes]) -> bytes:
    """Segments with pieces of a colour profile: each one's number, of how many, and content."""
    return b"".join(segment(0xE2, b"ICC_PROFILE\0" + bytes(piece[:2]) + piece[2]) for piece in pieces)


HEADERS = {
    "a profile": (profile((1, 1, b"abc")), True),
    "a profile in pieces": (profile((1, 2, b"abc"), (2, 2, b"def")), True),
    "no profile": (segment(0xE2, b"MPF\0 and more that is not looked at"), True),
    "a profile's piece 0": (profile((0, 1, b"abc")), False),
    "a profile's piece 2 of 1": (profile((2, 1, b"abc")), False),
    "a profile of which a piece is missing": (profile((1, 2, b"abc")), False),
    "a profile's piece again": (profile((1, 2, b"abc"), (1, 2, b"abc")), False),
    "a profile's pieces of other profiles": (profile((1, 2, b"abc"), (2, 3, b"abc")), False),
    "a profile of nothing": (profile((1, 1, b"")), False),
    "another JFIF": (segment(0xE0, b"JFIF\0\x07\1\0\0\1\0\1\0\0"), False),
}


@pytest.mark.parametrize(("added", "fine"), HEADERS.values(), ids=HEADERS)
def test_headers_that_libjpeg_warns_of_are_left_to_it(added: bytes, fine: bool) -> None:
    data = encoded(smooth(64, 80))
    data = data[:2] + added + data[2:]
    assert (in_c(data, 64, 80) is not None) == fine
    if fine:
        check(data, 64, 80)
    else:
        with pytest.raises(ValueError, match=r"JPEG|JFIF"):
            by_libjpeg(data, 64, 80)


def test_what_libjpeg_refuses_is_left_to_it() -> None:
    gray = encoded(smooth(64, 80)[:, :, 0])
    frame = gray.index(b"\xff\xc0")
    for sampling in (0x00, 0x05, 0x51, 0x0F):
        assert in_c(gray[: frame + 11] + bytes([sampling]) + gray[frame + 12 :], 64, 80) is None
    check(gray[: frame + 11] + b"\x23" + gray[frame + 12 :], 64, 80)
    assert in_c(b"ab" + gray[2:], 64, 80) is None
    long = encoded(np.zeros((64, 65_500), np.uint8))
    assert in_c(long, 64, 65_500) is not None
    wider = long.replace((65_500).to_bytes(2, "big"), (65_501).to_bytes(2, "big"), 1)  # of as many blocks
    assert in_c(wider, 64, 65_501) is None


def test_a_scan_without_any_code_ends() -> None:
    """None of its lanes gets anywhere, and none finds where a unit may begin."""
    for data in long():
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        scan = data.index(b"\xff\xda")
        begin = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
        assert in_c(data[:begin] + b"\xff\0" * 9000 + b"\xff\xd9", height, width) is None


def test_what_is_cut_off_anywhere_is_left_to_libjpeg() -> None:
    for options in ({"subsampling": "4:2:0"}, {"subsampling": "4:4:4", "restart_marker_blocks": 1}):
        data = encoded(smooth(64, 80), **options)
        check(data + b"whatever comes behind it", 64, 80)
        assert all(in_c(data[:length], 64, 80) is None for length in range(len(data)))


def test_damage_is_left_to_libjpeg_or_does_not_matter() -> None:
    dice = random.Random(4)
    seeds = [(data, *simplejpeg.decode_jpeg_header(data)[:2]) for data in (*encoded_variously(), *long())]
    same = 0
    for _ in range(4000):
        data, height, width = dice.choice(seeds)
        damaged = bytearray(data)
        for _ in range(dice.choice((1, 1, 2, 5))):
            where = dice.randrange(2, dice.choice((len(data), min(len(data), 700))))
            damaged[where] = dice.choice((damaged[where] ^ 1 << dice.randrange(8), 0, 0xFF, 0xD0, 0xD9))
        image = in_c(bytes(damaged), height, width)
        if image is not None:
            same += 1
            assert np.array_equal(image, by_libjpeg(bytes(damaged), height, width))
    assert 500 < same < 3500


def test_turned_pictures_come_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way, with and without the decoder in C."""
    data = encoded(smooth(81, 121), exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0")
    found: list[Decoded] = []
    for decoder in (DECODER, None):
        monkeypatch.setattr(jpeg, "EIGHTH", decoder)
        found.append(decode_scaled(data, lambda height, width: 8))
    assert found[0][1:] == found[1][1:] == (121, 81, 8, 0.0, found[1].left, True)
    assert np.array_equal(found[0].image, found[1].image)


def test_a_decoder_that_gives_other_pixels_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(_data: bytes, height: int, width: int, factor: int = 1) -> NDArray[np.uint8]:
        return np.zeros((-(-height // factor), -(-width // factor), 3), np.uint8)

    monkeypatch.setattr(jpeg, "eighth_decoder", lambda: wrong)
    monkeypatch.setattr(jpeg, "jpeg_decoder", lambda: wrong)
    for fastest in (jpeg.fastest_eighth, jpeg.fastest):
        with pytest.warns(RuntimeWarning, match="decodes otherwise"):
            assert fastest() is None
