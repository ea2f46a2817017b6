"""Resizing gives Pillow's pixels where it antialiases, OpenCV's where it does not, and the right shape always."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image

from headrace_server import resample
from headrace_server.resample import resize

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}


@cache
def photo() -> NDArray[np.uint8]:
    return np.asarray(load_sample_image("flower.jpg"))[:300, :401]


def gray() -> NDArray[np.uint8]:
    return np.ascontiguousarray(photo()[:, :, 1:2])


def by_pillow(image: NDArray[np.uint8], size: tuple[int, int], interpolation: str) -> NDArray[np.uint8]:
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    return np.asarray(picture.resize(size[::-1], FILTERS[interpolation])).reshape(*size, image.shape[2])


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("size", [(224, 224), (30, 500), (1, 1), (300, 77), (600, 802)])
@pytest.mark.parametrize("image", [photo, gray])
def test_antialiased_is_pillows_result(image: object, size: tuple[int, int], interpolation: str) -> None:
    source = photo() if image is photo else gray()
    result = resize(source, size, interpolation=interpolation)
    np.testing.assert_array_equal(result, by_pillow(source, size, interpolation))


@pytest.mark.parametrize(("interpolation", "flag"), [("bilinear", cv2.INTER_LINEAR), ("bicubic", cv2.INTER_CUBIC)])
def test_without_antialiasing_it_is_opencvs_result(interpolation: str, flag: int) -> None:
    result = resize(photo(), (50, 60), antialias=False, interpolation=interpolation)
    np.testing.assert_array_equal(result, cv2.resize(photo(), (60, 50), interpolation=flag))
    assert not np.array_equal(result, resize(photo(), (50, 60), interpolation=interpolation))


def test_without_antialiasing_nearest_samples_at_centres() -> None:
    image = np.arange(9, dtype=np.uint8).reshape(1, 9, 1)
    np.testing.assert_array_equal(resize(image, (1, 3), antialias=False, interpolation="nearest")[0, :, 0], [1, 4, 7])


def test_the_box_is_the_part_that_is_taken() -> None:
    box = (10.5, 20.25, 200.0, 300.5)
    expected = Image.fromarray(photo()).resize((50, 40), FILTERS["bilinear"], box=(20.25, 10.5, 320.75, 210.5))
    np.testing.assert_array_equal(resize(photo(), (40, 50), box=box), expected)
    crop = photo()[10:110, 20:220]
    aliased = resize(photo(), (40, 50), box=(10, 20, 100, 200), antialias=False)
    np.testing.assert_array_equal(aliased, resize(crop, (40, 50), antialias=False))


@pytest.mark.parametrize("excess", [0, 9e-7])
def test_a_box_as_large_as_the_image_but_for_rounding_is_the_image(excess: float) -> None:
    image = photo()[:5, :5]
    np.testing.assert_array_equal(resize(image, (3, 3), box=(0, 0, 5 + excess, 5 + excess)), resize(image, (3, 3)))


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (0, 0, 301, 5), (0, 400, 5, 2), (0, 0, 0, 5), (0, 0, 5, -1)])
def test_a_box_outside_the_image_is_an_error(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="outside an image"):
        resize(photo(), (9, 9), box=box)


def test_a_fractional_box_without_antialiasing_is_an_error() -> None:
    with pytest.raises(ValueError, match="whole pixels"):
        resize(photo(), (9, 9), box=(0.5, 0, 5, 5), antialias=False)


@given(
    source=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    channels=st.sampled_from([1, 3]),
    antialias=st.booleans(),
    interpolation=st.sampled_from(list(FILTERS)),
)
@settings(max_examples=100, deadline=None)
def test_the_result_is_in_out_and_the_source_is_untouched(
    source: tuple[int, int], size: tuple[int, int], channels: int, antialias: bool, interpolation: str
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*source, channels), dtype=np.uint8)
    before = image.copy()
    batch = np.full((3, *size, channels), 7, np.uint8)
    result = resize(image, size, antialias=antialias, interpolation=interpolation, out=batch[1])
    fresh = resize(image, size, antialias=antialias, interpolation=interpolation)
    assert fresh.shape == (*size, channels)
    assert np.shares_memory(result, batch)
    np.testing.assert_array_equal(batch[1], fresh)
    assert (batch[[0, 2]] == 7).all()
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("shape", [(1, 40_000, 3), (40_000, 1, 3), (1, 1, 3), (2, 50_000, 1)])
def test_extreme_shapes_are_resized(shape: tuple[int, int, int], antialias: bool) -> None:
    image = np.full(shape, 200, np.uint8)
    np.testing.assert_array_equal(resize(image, (17, 5), antialias=antialias), np.full((17, 5, shape[2]), 200))


@pytest.mark.skipif(resample.NATIVE is None, reason="not compiled")
@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("box", [None, (10.5, 20.25, 200.0, 300.5), (0, 250, 300, 31)])
def test_compiled_or_not_the_result_is_the_same(
    monkeypatch: pytest.MonkeyPatch, interpolation: str, channels: int, box: tuple[float, float, float, float] | None
) -> None:
    image = photo()[:, :, :channels]
    compiled = resize(image, (50, 60), box=box, interpolation=interpolation)
    slot = np.zeros((50, 60, channels), np.uint8)
    monkeypatch.setattr(resample, "NATIVE", None)
    assert resize(image, (50, 60), box=box, interpolation=interpolation, out=slot) is slot
    np.testing.assert_array_equal(slot, compiled)


@pytest.mark.skipif(resample.NATIVE is None, reason="not compiled")
def test_the_compiled_one_is_used_only_where_it_equals_this_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resample.NATIVE is not None
    other = replace(resample.NATIVE, tall_down_first=not resample.NATIVE.tall_down_first)
    assert resample.equals_pillow(resample.NATIVE)
    assert not resample.equals_pillow(other)
    monkeypatch.setattr(resample, "resize_with_pillow", lambda image, size, *_: np.zeros((*size, image.shape[2]), "B"))
    with pytest.warns(RuntimeWarning, match="resizes differently"):
        assert resample.fastest() is None


def test_a_view_of_a_larger_image_is_resized_like_its_copy() -> None:
    view = photo()[5:105, 7:107]
    for antialias in (True, False):
        np.testing.assert_array_equal(
            resize(view, (20, 20), antialias=antialias), resize(view.copy(), (20, 20), antialias=antialias)
        )
