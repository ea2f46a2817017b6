"""Decoding gives Pillow's picture for every kind of file, and an error or nothing else for what is no picture."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from headrace_server.decode import DecodeError, decode, engine
from headrace_server.orientation import jpeg_header

# Pytest puts its own filters before the one that `decode` sets for the process.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

ORIENTATION = 0x0112


@cache
def photo(width: int = 131, height: int = 97) -> Image.Image:
    return Image.fromarray(load_sample_image("china.jpg")).resize((width, height))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def by_pillow(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def assert_as_pillow(data: bytes) -> None:
    image = decode(data)
    np.testing.assert_array_equal(image, by_pillow(data))
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable


def with_alpha(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def palette(**options: Any) -> Image.Image:
    return photo().quantize(50, **options)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x010E] = "a description that does not fit into four bytes"
    tags[ORIENTATION] = orientation
    return tags


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def xmp(orientation: int) -> bytes:
    return segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="%d"/>' % orientation)


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def raw_png(values: NDArray[np.uint16], colour_type: int) -> bytes:
    """A PNG of 16-bit channels, which Pillow can read in more forms than it can write."""
    height, width = values.shape[:2]
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


FILES = {
    "jpeg 4:4:4": lambda: encoded(photo(), "JPEG", quality=94, subsampling="4:4:4"),
    "jpeg 4:2:2": lambda: encoded(photo(), "JPEG", quality=94, subsampling="4:2:2"),
    "jpeg 4:2:0": lambda: encoded(photo(), "JPEG", quality=94, subsampling="4:2:0"),
    "jpeg 4:1:1": lambda: encoded(photo(), "JPEG", quality=94, subsampling="4:1:1"),
    "jpeg of low quality": lambda: encoded(photo(), "JPEG", quality=5),
    "jpeg progressive": lambda: encoded(photo(), "JPEG", progressive=True),
    "jpeg optimised": lambda: encoded(photo(), "JPEG", optimize=True),
    "jpeg with restarts": lambda: encoded(photo(), "JPEG", restart_marker_rows=1),
    "jpeg gray": lambda: encoded(photo().convert("L"), "JPEG"),
    "jpeg gray progressive": lambda: encoded(photo().convert("L"), "JPEG", progressive=True),
    "jpeg rgb": lambda: encoded(photo(), "JPEG", keep_rgb=True),
    "jpeg cmyk": lambda: encoded(photo().convert("CMYK"), "JPEG"),
    "jpeg ycck": lambda: encoded(photo().convert("CMYK"), "JPEG").replace(
        b"Adobe\0\x64\0\0\0\0\0", b"Adobe\0\x64\0\0\0\0\2"
    ),
    "jpeg one pixel": lambda: encoded(photo(1, 1), "JPEG"),
    "jpeg long": lambda: encoded(photo(3000, 1), "JPEG"),
    "mpo": lambda: encoded(photo(), "MPO", save_all=True, append_images=[photo().rotate(90)]),
    "png": lambda: encoded(photo(), "PNG"),
    "png palette": lambda: encoded(palette(), "PNG"),
    "png palette, some transparent": lambda: encoded(palette(), "PNG", transparency=bytes(range(0, 250, 5))),
    "png palette, one transparent": lambda: encoded(palette(), "PNG", transparency=3),
    "png gray": lambda: encoded(photo().convert("L"), "PNG"),
    "png gray, one transparent": lambda: encoded(photo().convert("L"), "PNG", transparency=100),
    "png rgb, one transparent": lambda: encoded(photo(), "PNG", transparency=(0, 0, 0)),
    "png gray alpha": lambda: encoded(with_alpha(photo()).convert("LA"), "PNG"),
    "png alpha": lambda: encoded(with_alpha(photo()), "PNG"),
    "png 1 bit": lambda: encoded(photo().convert("1"), "PNG"),
    "png 2 bits": lambda: encoded(photo().quantize(4), "PNG", bits=2),
    "png animated": lambda: encoded(photo(), "PNG", save_all=True, append_images=[photo().rotate(90)]),
    "webp": lambda: encoded(photo(), "WEBP"),
    "webp alpha": lambda: encoded(with_alpha(photo()), "WEBP"),
    "webp lossless": lambda: encoded(photo(), "WEBP", lossless=True),
    "webp lossless alpha": lambda: encoded(with_alpha(photo()), "WEBP", lossless=True),
    "webp animated": lambda: encoded(photo(), "WEBP", save_all=True, append_images=[photo().rotate(90)]),
    "gif": lambda: encoded(palette(), "GIF"),
    "gif interlaced": lambda: encoded(palette(), "GIF", interlace=1),
    "gif transparent": lambda: encoded(palette(), "GIF", transparency=3),
    "gif animated": lambda: encoded(palette(), "GIF", save_all=True, append_images=[palette().rotate(90)]),
    "bmp": lambda: encoded(photo(), "BMP"),
    "bmp palette": lambda: encoded(palette(), "BMP"),
    "bmp 1 bit": lambda: encoded(photo().convert("1"), "BMP"),
    "tiff": lambda: encoded(photo(), "TIFF"),
    "tiff lzw": lambda: encoded(photo(), "TIFF", compression="tiff_lzw"),
    "tiff deflate": lambda: encoded(photo(), "TIFF", compression="tiff_adobe_deflate"),
    "tiff packbits": lambda: encoded(photo(), "TIFF", compression="packbits"),
    "tiff jpeg": lambda: encoded(photo(), "TIFF", compression="jpeg"),
    "tiff group 4": lambda: encoded(photo().convert("1"), "TIFF", compression="group4"),
    "tiff palette": lambda: encoded(palette(), "TIFF"),
    "tiff gray": lambda: encoded(photo().convert("L"), "TIFF"),
    "tiff cmyk": lambda: encoded(photo().convert("CMYK"), "TIFF", compression="tiff_lzw"),
    "tiff alpha": lambda: encoded(with_alpha(photo()), "TIFF"),
    "tiff pages": lambda: encoded(photo(), "TIFF", save_all=True, append_images=[photo().rotate(90)]),
}
SIXTEEN_BITS = {
    "png gray": lambda values: raw_png(values, 0),
    "png gray by pillow": lambda values: encoded(Image.fromarray(values), "PNG"),
    "tiff little endian": lambda values: encoded(Image.fromarray(values), "TIFF"),
    "tiff big endian": lambda values: encoded(Image.fromarray(values.astype(">u2")), "TIFF"),
    "tiff compressed": lambda values: encoded(Image.fromarray(values), "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_decodes_to_what_pillow_gives(name: str) -> None:
    assert_as_pillow(FILES[name]())


def test_the_samples_of_odd_jpegs_are_what_their_names_say() -> None:
    def adobe_transform(name: str) -> int | None:
        transform: int | None = Image.open(io.BytesIO(FILES[name]())).info.get("adobe_transform")
        return transform

    assert (adobe_transform("jpeg cmyk"), adobe_transform("jpeg ycck"), adobe_transform("jpeg rgb")) == (0, 2, 0)
    assert not np.array_equal(decode(FILES["jpeg cmyk"]()), decode(FILES["jpeg ycck"]()))


@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    quality=st.integers(1, 100),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0", "4:1:1"]),
    progressive=st.booleans(),
    gray=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_jpegs_are_bit_for_bit_pillows(
    size: tuple[int, int], quality: int, subsampling: str, progressive: bool, gray: bool, seed: int
) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = Image.blend(Image.fromarray(noise), photo(*size[::-1]), 0.7)
    assert_as_pillow(
        encoded(
            image.convert("L") if gray else image,
            "JPEG",
            quality=quality,
            subsampling=subsampling,
            progressive=progressive,
        )
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "MPO"])
@pytest.mark.parametrize("orientation", range(10))
def test_pictures_are_turned_upright_by_exif(kind: str, orientation: int) -> None:
    lossless = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(photo(), kind, exif=exif(orientation), **lossless)
    assert_as_pillow(data)
    assert (decode(data).shape[:2] == photo().size) == (5 <= orientation <= 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_by_xmp_where_there_is_no_exif(orientation: int) -> None:
    jpeg = encoded(photo(), "JPEG")
    assert_as_pillow(with_segments(jpeg, xmp(orientation)))
    assert_as_pillow(with_segments(jpeg, xmp(orientation), segment(0xE1, exif(6).tobytes())))
    assert_as_pillow(with_segments(jpeg, segment(0xE1, exif(8).tobytes()), xmp(orientation)))


@pytest.mark.parametrize(
    "content",
    [
        b"Exif\0\0",
        b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0",
        b"Exif\0\0Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0",
        b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\4\0\0\0\1\0\0\0\6\0\0\0\0",  # a long
        b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\2\0\6\0\6\0\0\0\0",  # two values
        b"Exif\0\0MM\0*\0\0\0\x08\0\2\1\x12\0\3\0\0\0\1\0\6\0\0\1\x12\0\3\0\0\0\1\0\3\0\0\0\0\0\0",  # twice
        b"Exif\0\0MM\0*\0\0\0\x08\0\2\1\x0f\0\2\0\0\0\x40\0\0\xff\0\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0",  # too long
        b"Exif\0\0MM\0*\0\0\0\x08\0\2\1\x0f\0\2\0\0\0\x08\0\0\xff\0\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0",  # a bad offset
        b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6",  # cut
        b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0",
    ],
)
def test_odd_exif_means_what_pillow_takes_it_for(content: bytes) -> None:
    jpeg = encoded(photo(), "JPEG")
    without_jfif = jpeg[:2] + jpeg[20:]
    assert_as_pillow(with_segments(without_jfif, segment(0xE1, content)))
    assert_as_pillow(with_segments(without_jfif, segment(0xE1, content), segment(0xE1, exif(3).tobytes())))


def test_exif_that_nobody_can_read_turns_nothing() -> None:
    jpeg = encoded(photo(), "JPEG", dpi=(72, 72))
    broken = with_segments(jpeg, segment(0xE1, b"Exif\0\0nonsense"))
    np.testing.assert_array_equal(decode(broken), decode(jpeg))


def test_ordinary_jpegs_take_the_short_way() -> None:
    assert jpeg_header(encoded(photo(), "JPEG", exif=exif(6))) == (97, 131, 3, 6)
    assert jpeg_header(encoded(photo().convert("L"), "JPEG", progressive=True)) == (97, 131, 1, 1)
    assert jpeg_header(encoded(photo(), "JPEG")[:40]) is None


@pytest.mark.parametrize("name", SIXTEEN_BITS)
def test_gray_of_16_bits_becomes_its_upper_8(name: str) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (23, 31), dtype=np.uint16)
    expected = np.repeat((values >> 8).astype(np.uint8)[:, :, np.newaxis], 3, axis=2)
    np.testing.assert_array_equal(decode(SIXTEEN_BITS[name](values)), expected)


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_colours_of_16_bits_become_their_upper_8(colour_type: int, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (23, 31, channels), dtype=np.uint16)
    colours = (values >> 8).astype(np.uint8)
    expected = np.repeat(colours[:, :, :1], 3, axis=2) if channels == 2 else colours[:, :, :3]
    np.testing.assert_array_equal(decode(raw_png(values, colour_type)), expected)


def test_gray_of_16_bits_is_turned_upright() -> None:
    values = np.arange(6, dtype=np.uint16).reshape(2, 3) << 8
    for kind in ("PNG", "TIFF"):
        image = decode(encoded(Image.fromarray(values), kind, exif=exif(6)))
        np.testing.assert_array_equal(image[:, :, 0], [[3, 0], [4, 1], [5, 2]])


def test_values_without_a_meaning_as_colours_are_refused() -> None:
    data = encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    with pytest.raises(DecodeError, match="floating-point"):
        decode(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<html>not found</html>", "no JPEG, PNG.* begin with b'<html>not fo'"),
        (b"\xff\xd8\xff", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"RIFF\0\0\0\0WEBP", "WEBP"),
        (b"GIF89a", "GIF"),
        (b"BM", "BMP"),
        (b"II*\0", "TIFF"),
    ],
)
def test_what_is_no_picture_is_an_error_that_says_what_was_found(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason) as caught:
        decode(data)
    assert caught.value.reason == str(caught.value)


def test_other_formats_that_pillow_knows_are_refused() -> None:
    for kind in ("PPM", "TGA", "ICO", "PCX", "JPEG2000"):
        with pytest.raises(DecodeError, match="no JPEG"):
            decode(encoded(photo(), kind))


def test_too_many_pixels_are_refused_from_the_header() -> None:
    for name in ("jpeg 4:2:0", "jpeg cmyk", "png", "webp", "gif", "bmp", "tiff"):
        data = FILES[name]()
        assert decode(data, max_pixels=131 * 97).shape == (97, 131, 3)
        with pytest.raises(DecodeError, match="131 x 97 is 12,707 pixels, at most 12,706"):
            decode(data, max_pixels=131 * 97 - 1)


def test_headers_that_promise_gigapixels_are_refused_before_decoding() -> None:
    jpeg = bytearray(encoded(photo(), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    png = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 10**9, 10**9, 8, 2, 0, 0, 0))
    png += png_chunk(b"IDAT", zlib.compress(b"\0" * 100)) + png_chunk(b"IEND", b"")
    gif = bytearray(encoded(palette(), "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    for data in (bytes(jpeg), png, bytes(gif)):
        with pytest.raises(DecodeError, match="pixels, at most 100,000,000"):
            decode(data)


def test_the_bound_is_the_one_given_and_not_pillows() -> None:
    data = encoded(Image.new("1", (20_000, 10_000)), "PNG")
    with pytest.raises(DecodeError, match="at most 199,999,999"):
        decode(data, max_pixels=199_999_999)


TRUNCATED = [name for name in FILES if name not in ("jpeg long", "jpeg one pixel")]


@pytest.mark.parametrize("name", TRUNCATED)
def test_a_truncated_file_is_an_error_or_the_whole_picture(name: str) -> None:
    data = FILES[name]()
    whole = decode(data)
    cuts = {*range(64), *range(64, len(data), max(1, len(data) // 60)), *range(max(0, len(data) - 30), len(data))}
    failures = 0
    for cut in sorted(cuts & set(range(len(data)))):
        try:
            np.testing.assert_array_equal(decode(data[:cut]), whole)
        except DecodeError:
            failures += 1
    assert failures > 20


@pytest.mark.parametrize("name", ["jpeg 4:2:0", "jpeg progressive", "png", "webp lossless", "gif", "bmp", "tiff lzw"])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_damaged_file_is_an_error_or_what_pillow_makes_of_it(name: str, data: st.DataObject) -> None:
    damaged = bytearray(FILES[name]())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode(bytes(damaged), max_pixels=10_000_000)
    except DecodeError:
        return
    if Image.open(io.BytesIO(damaged)).mode.startswith(("I", "F")):
        return
    np.testing.assert_array_equal(image, by_pillow(bytes(damaged)))


@given(
    start=st.sampled_from(
        [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"RIFF\0\0\0\0WEBPVP8 "]
    ),
    rest=st.binary(max_size=300),
)
@settings(max_examples=150, deadline=None)
def test_bytes_at_random_raise_nothing_but_decode_error(start: bytes, rest: bytes) -> None:
    try:
        image = decode(start + rest, max_pixels=1_000_000)
    except DecodeError:
        return
    assert image.shape[2] == 3


def test_damaged_files_print_nothing(tmp_path: Path) -> None:
    program = """
import pathlib, sys
from headrace_server.decode import DecodeError, decode
for path in sys.argv[1:]:
    data = pathlib.Path(path).read_bytes()
    for cut in range(0, len(data), 97):
        try:
            decode(data[: len(data) - cut])
        except DecodeError:
            pass
"""
    paths = []
    for name in ("tiff jpeg", "tiff lzw", "tiff deflate", "tiff group 4", "png palette, some transparent"):
        paths.append(tmp_path / name)
        paths[-1].write_bytes(FILES[name]())
    run = subprocess.run([sys.executable, "-W", "default", "-c", program, *paths], capture_output=True, check=True)
    assert run.stdout + run.stderr == b""


def test_threads_decode_side_by_side() -> None:
    files = [FILES[name]() for name in ("jpeg 4:2:0", "jpeg cmyk", "png", "webp", "gif animated", "tiff lzw")]
    expected = [decode(data) for data in files]
    barrier = threading.Barrier(8)

    def work(_: int) -> bool:
        barrier.wait()
        return all(
            np.array_equal(decode(data), image) for _ in range(5) for data, image in zip(files, expected, strict=True)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_every_picture_is_the_callers_own() -> None:
    for name in ("jpeg 4:2:0", "png"):
        data = FILES[name]()
        decode(data)[:] = 0
        assert decode(data).any()


def test_the_engine_names_the_versions_that_decide_about_pixels() -> None:
    assert engine() == engine()
    assert " " not in engine()
    assert f"pillow-{PIL.__version__}" in engine()
    for library in ("simplejpeg-", "jpeg-", "webp-", "tiff-", "opencv-"):
        assert library in engine()
