"""Large photographs, decoded smaller for a first step that needs no more, look as if they had been decoded in full."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image

from headrace_proto.transforms import (
    CenterCrop,
    ColorJitter,
    Grayscale,
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    RandomRotation,
    Resize,
    Transform,
)
from headrace_server.cache import ImageCache
from headrace_server.catalog import Catalog, Dataset
from headrace_server.decode import Bounds, Decoded, DecodeError, decode, decode_scaled
from headrace_server.plans import PlanStore, ResolvedPlan
from headrace_server.samples import SampleMaker
from headrace_server.sources.folder import open_folder
from headrace_server.transforms.custom import CustomTransforms
from headrace_server.transforms.pipeline import Pipeline, compile_pipeline

NONE = CustomTransforms.load({})
BOUNDS = Bounds(pixels=1_000_000, file_bytes=1_000_000)
ORIENTATION = 0x0112
SAME_LOOK = 1.8
"""Mean levels that a photograph may differ by; 2 is what is promised."""

Photo = Literal["china.jpg", "flower.jpg"]


@cache
def photo(name: Photo, height: int, width: int, sharpness: float = 1.0) -> NDArray[np.uint8]:
    """A photograph made larger, with the fine detail of the photograph itself, at its own scale, laid over it."""
    small = load_sample_image(name)
    around = np.concatenate([small, small[:, ::-1]], axis=1)
    around = np.concatenate([around, around[::-1]])
    times = (-(-height // around.shape[0]), -(-width // around.shape[1]), 1)
    tiled = np.tile(around, times)[:height, :width].astype(np.float32)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    detail = tiled - cv2.GaussianBlur(tiled, (0, 0), 3)
    mixed: NDArray[np.uint8] = np.clip(large + sharpness * detail, 0, 255).astype(np.uint8)
    return mixed


def waves(height: int, width: int, period: float = 240.0) -> NDArray[np.uint8]:
    """So soft that only a shift makes a difference: by one pixel it is a level in the mean."""
    down, across = np.ogrid[:height, :width]
    values = 127 + 60 * np.sin(2 * np.pi * down / period) + 60 * np.sin(2 * np.pi * across / period)
    return np.repeat(values.astype(np.uint8)[:, :, np.newaxis], 3, axis=2)


def jpeg(image: NDArray[np.uint8], orientation: int = 1, **options: Any) -> bytes:
    exif = Image.Exif()
    if orientation != 1:
        exif[ORIENTATION] = orientation
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", exif=exif, **{"quality": 92, **options})
    return file.getvalue()


def compiled(*transforms: Transform) -> Pipeline:
    return compile_pipeline(transforms, dtype=None, layout="NHWC", custom=NONE)


def run(pipeline: Pipeline, picture: NDArray[np.uint8] | Decoded, epoch: int = 0) -> NDArray[np.int16]:
    out = np.zeros(pipeline.output.shape, np.uint8)
    pipeline.finish(pipeline.begin(picture, out), {}, 7, epoch, 5, out)
    return out.astype(np.int16)


def scaled(pipeline: Pipeline, data: bytes, epoch: int = 0) -> Decoded:
    return decode_scaled(data, pipeline.reduction(7, epoch, 5))


def difference(pipeline: Pipeline, data: bytes, epoch: int = 0) -> tuple[int, float]:
    """The factor, and the mean of what it costs, in levels."""
    picture = scaled(pipeline, data, epoch)
    levels = np.abs(run(pipeline, picture, epoch) - run(pipeline, decode(data), epoch))
    return picture.factor, float(levels.mean())


# --- the same look


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
@pytest.mark.parametrize(("sharpness", "most"), [(0.0, 0.8), (1.0, 1.1)])
def test_twelve_megapixels_look_as_resized_by_pillow(name: Photo, sharpness: float, most: float) -> None:
    data = jpeg(photo(name, 3000, 4000, sharpness))
    pipeline = compiled(Resize((224, 224)))
    picture = scaled(pipeline, data)
    assert (picture.factor, picture.image.shape) == (8, (375, 500, 3))
    expected = Image.open(io.BytesIO(data)).resize((224, 224), Image.Resampling.BILINEAR)
    assert np.abs(run(pipeline, picture) - np.asarray(expected, np.int16)).mean() < most


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(90, 120), (110, 150), (130, 170), (200, 250), (232, 310), (250, 285), (120, 166)])
def test_photographs_look_the_same_at_every_reduction(name: Photo, interpolation: Any, size: tuple[int, int]) -> None:
    factor, levels = difference(compiled(Resize(size, interpolation=interpolation)), jpeg(photo(name, 750, 1000)))
    assert factor > 1
    assert 0 < levels < SAME_LOOK


@pytest.mark.parametrize(("side", "most"), [(0, SAME_LOOK), (1, 1), (2, 1), (4, 1), (7, 3), (8, 4), (13, 5)])
def test_what_pictures_made_to_be_hard_may_differ_by(side: int, most: float) -> None:
    """Noise, and boards of black and white whose fields are 7 by 9 pixels large when one new pixel stands for them."""
    down, across = np.indices((1500, 2000))
    image = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)
    if side:
        image[:] = ((down // side + across // side & 1) * 255)[..., np.newaxis]
    factor, levels = difference(compiled(Resize((224, 224))), jpeg(image))
    assert factor == 4
    assert levels < most


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", [(1001, 801), (993, 1207), (1000, 800)])
def test_nothing_is_shifted_whichever_way_up_the_file_is(orientation: int, shape: tuple[int, int]) -> None:
    data = jpeg(waves(*shape), orientation)
    height, width = shape if orientation < 5 else shape[::-1]
    pipeline = compiled(Resize((height // 16, width // 16)))
    picture = scaled(pipeline, data)
    assert (picture.height, picture.width, picture.factor) == (height, width, 8)
    assert difference(pipeline, data)[1] < 0.6
    crops = compiled(RandomResizedCrop(40))
    assert max(difference(crops, data, epoch)[1] for epoch in range(4)) < 0.6


def test_each_pixel_is_the_mean_of_a_square() -> None:
    data = jpeg(photo("flower.jpg", 427, 640)[:, :, 0])
    whole = decode(data)[:424, :, :].astype(np.float64)
    for factor in (2, 4, 8):
        smaller = decode_scaled(data, lambda height, width, factor=factor: factor).image  # type: ignore[misc]
        means = whole.reshape(424 // factor, factor, 640 // factor, factor, 3).mean(axis=(1, 3))
        assert np.abs(smaller[: len(means)] - means).mean() < 0.6


def test_a_random_crop_is_drawn_alike_for_a_picture_decoded_smaller() -> None:
    data = jpeg(photo("china.jpg", 1201, 1603))
    pipeline = compiled(RandomResizedCrop((72, 90)))
    found = [difference(pipeline, data, epoch) for epoch in range(30)]
    assert {factor for factor, _ in found} == {2, 4, 8}
    assert max(levels for _, levels in found) < SAME_LOOK


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    size=st.one_of(st.integers(1, 40), st.tuples(st.integers(1, 40), st.integers(1, 40))),
    orientation=st.integers(1, 8),
)
@example(height=129, width=135, size=(1, 1), orientation=3)
@example(height=263, width=391, size=(4, 4), orientation=7)
@example(height=3, width=400, size=2, orientation=6)
def test_any_size_is_resized(height: int, width: int, size: Any, orientation: int) -> None:
    image = waves(height, width)
    for step in (Resize(size), RandomResizedCrop(size)):
        pipeline = compiled(step) if isinstance(size, tuple) else compiled(step, CenterCrop(size))
        assert difference(pipeline, jpeg(image, orientation))[1] < SAME_LOOK


# --- what is asked for


@pytest.mark.parametrize(
    ("transforms", "sides", "factor"),
    [
        ([Resize((224, 224))], (3000, 4000), 8),
        ([Resize((224, 224))], (4000, 3000), 8),
        ([Resize(256), CenterCrop(224)], (3000, 4000), 4),
        ([Resize(256), RandomCrop(224), RandomFlip()], (3000, 4000), 4),
        ([Resize((224, 224))], (1500, 2000), 4),
        ([Resize((224, 224))], (750, 1000), 2),
        ([Resize((200, 200))], (640, 640), 2),
        ([Resize((200, 200))], (639, 640), 1),
        ([Resize((200, 200))], (600, 689), 1),
        ([Resize((200, 200))], (600, 690), 2),
        ([Resize((200, 200))], (690, 600), 2),
        ([Resize((200, 200))], (599, 5000), 1),
        ([Resize((224, 224))], (2717, 3699), 8),
        ([Resize((224, 224))], (375, 500), 1),
        ([Resize((100, 400))], (1300, 1300), 2),
        ([Resize(224), CenterCrop(224)], (300, 60_000), 1),
        ([Resize((1, 1))], (128, 128), 2),
        ([Resize((1, 1))], (127, 128), 1),
        ([RandomResizedCrop(224, scale=(1.0, 1.0))], (3000, 3000), 8),
        ([RandomResizedCrop(224, scale=(0.08, 0.08))], (3000, 3000), 2),
        ([RandomResizedCrop(224)], (600, 800), 1),
    ],
)
def test_the_reduction_follows_from_what_the_first_step_keeps(
    transforms: list[Transform], sides: tuple[int, int], factor: int
) -> None:
    assert compiled(*transforms).reduction(7, 0, 5)(*sides) == factor


@pytest.mark.parametrize(
    "transforms",
    [
        [Resize((32, 32), antialias=False)],
        [Resize((32, 32), interpolation="nearest")],
        [RandomResizedCrop(32, antialias=False)],
        [CenterCrop(32)],
        [RandomCrop(32)],
        [RandomFlip(), Resize((32, 32))],
        [RandomRotation(10), Resize((32, 32))],
        [ColorJitter(brightness=0.1), Resize((32, 32))],
        [Grayscale(), Resize((32, 32))],
    ],
)
def test_where_every_pixel_counts_a_picture_is_decoded_in_full(transforms: list[Transform]) -> None:
    data = jpeg(photo("china.jpg", 750, 1000))
    pipeline = compiled(*transforms)
    picture = scaled(pipeline, data)
    assert picture.factor == 1
    np.testing.assert_array_equal(picture.image, decode(data))
    np.testing.assert_array_equal(run(pipeline, picture), run(pipeline, decode(data)))


def test_an_ordinary_picture_is_bit_for_bit_what_it_was() -> None:
    data = jpeg(photo("china.jpg", 375, 500))
    for step in (Resize((224, 224)), RandomResizedCrop(224)):
        assert difference(compiled(step), data) == (1, 0)


@pytest.mark.parametrize("kind", ["PNG", "CMYK"])
def test_what_is_no_ordinary_jpeg_is_decoded_in_full(kind: str) -> None:
    image = Image.fromarray(photo("china.jpg", 750, 1000))
    file = io.BytesIO()
    if kind == "CMYK":
        image.convert(kind).save(file, "JPEG")
    else:
        image.save(file, kind)
    picture = scaled(compiled(Resize((32, 32))), file.getvalue())
    assert (picture.factor, picture.scalable) == (1, False)
    np.testing.assert_array_equal(picture.image, decode(file.getvalue()))


def test_the_reduction_is_asked_with_the_size_of_the_upright_picture() -> None:
    asked = []

    def reduction(height: int, width: int) -> int:
        asked.append((height, width))
        return 2

    picture = decode_scaled(jpeg(photo("china.jpg", 90, 120), 6), reduction)
    assert asked == [(120, 90)]
    assert picture.image.shape == (60, 45, 3)


# --- as strict


@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": "4:2:0"},
        {"subsampling": "4:2:2"},
        {"subsampling": "4:4:4"},
        {"progressive": True},
        {"restart_marker_rows": 1},
        {"optimize": True},
    ],
)
@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.filterwarnings("ignore:::PIL")
def test_a_file_cut_short_is_told_by_the_same_error(options: dict[str, Any], factor: int) -> None:
    data = jpeg(photo("china.jpg", 150, 203), **options)
    for cut in [1, 2, 3, 4, 10, *range(50, len(data), len(data) // 40)]:
        assert outcome(data[:-cut], factor) == outcome(data[:-cut], 1)
    assert outcome(data[: len(data) // 2], factor).startswith("a damaged, truncated")
    assert decode_scaled(data, lambda height, width: factor).factor == factor


@pytest.mark.filterwarnings("ignore:::PIL")
@settings(max_examples=150, deadline=None)
@given(place=st.integers(2, 9_000), value=st.integers(0, 255), factor=st.sampled_from([2, 4, 8]))
def test_damage_is_told_by_the_same_error(place: int, value: int, factor: int) -> None:
    data = bytearray(jpeg(photo("flower.jpg", 150, 203)))
    data[place % len(data)] = value
    assert outcome(bytes(data), factor) == outcome(bytes(data), 1)


def outcome(data: bytes, factor: int) -> str:
    """The error, or the size of the picture in full."""
    try:
        picture = decode_scaled(data, lambda height, width: factor if min(height, width) >= 64 else 1)
    except DecodeError as error:
        return error.reason
    down, across = -(-picture.height // picture.factor), -(-picture.width // picture.factor)
    assert picture.image.shape == (down, across, 3)
    return f"{picture.height} x {picture.width}"


def test_the_most_pixels_are_those_of_the_picture_in_full() -> None:
    data = jpeg(photo("china.jpg", 750, 1000))
    pipeline = compiled(Resize((32, 32)))
    assert decode_scaled(data, pipeline.reduction(0, 0, 0), max_pixels=750_000).factor == 8
    with pytest.raises(DecodeError, match="1000 x 750 is 750,000 pixels"):
        decode_scaled(data, pipeline.reduction(0, 0, 0), max_pixels=749_999)


# --- with what is kept


def test_what_is_kept_never_changes_a_picture(tmp_path: Path) -> None:
    """Random crops want some pictures smaller in some epochs; those kept in full must not stand in for them."""
    (tmp_path / "a").mkdir()
    image = photo("china.jpg", 300, 400)
    (tmp_path / "a" / "0.jpg").write_bytes(jpeg(image))
    Image.fromarray(image).save(tmp_path / "a" / "1.png")
    for name, sample in (("0.jpg", 0), ("1.png", 1)):
        data = (tmp_path / "a" / name).read_bytes()
        kept = ImageCache(10_000_000)
        hits = []
        for epoch in range(12):
            for transform in (RandomCrop(64), RandomResizedCrop(64)):
                plan = resolved(tmp_path, [transform])
                maker = SampleMaker(plan, epoch, BOUNDS, kept)
                found = maker.cached(sample)
                hits.append(found is not None)
                without = made(SampleMaker(plan, epoch, BOUNDS, ImageCache(0)), sample, data)
                np.testing.assert_array_equal(made(maker, sample, data if found is None else found), without)
        assert not hits[0]
        assert all(hits[1:]) == (name == "1.png")
        assert sum(hits) >= 12


def test_a_beginning_that_is_the_same_in_every_epoch_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    data = jpeg(photo("china.jpg", 300, 400))
    (tmp_path / "a" / "0.jpg").write_bytes(data)
    plan, kept = resolved(tmp_path, [Resize(72), RandomCrop(64)]), ImageCache(1_000_000)
    first = made(SampleMaker(plan, 0, BOUNDS, kept), 0, data)
    found = SampleMaker(plan, 0, BOUNDS, kept).cached(0)
    assert found is not None
    assert found.shape == (72, 96, 3)
    np.testing.assert_array_equal(made(SampleMaker(plan, 0, BOUNDS, kept), 0, found), first)


def resolved(root: Path, transforms: Sequence[Transform]) -> ResolvedPlan:
    dataset = Dataset(open_folder(root, name="photos"), (), "raise", 0)
    data = {"dataset": "photos", "transforms": [transform.to_json() for transform in transforms]}
    return PlanStore(Catalog([dataset]), NONE).add(data)


def made(maker: SampleMaker, sample: int, data: bytes | NDArray[np.uint8]) -> NDArray[np.uint8]:
    out = np.zeros(maker.plan.pipeline.output.shape, np.uint8)
    maker.make(sample, data, out, lambda _: b"")
    return out
