"""Transforms do what their docstrings say, on every shape of image, and depend on (seed, epoch, sample) alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_image

from headrace_proto.transforms import (
    CenterCrop,
    ColorJitter,
    Custom,
    Grayscale,
    Normalize,
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    RandomRotation,
    Resize,
    Transform,
)
from headrace_server.decode import DecodeError
from headrace_server.draws import Draws
from headrace_server.transforms import color
from headrace_server.transforms.base import PlanError
from headrace_server.transforms.custom import CustomTransforms
from headrace_server.transforms.pipeline import Pipeline, compile_pipeline

NONE = CustomTransforms.load({})


@cache
def photo(height: int = 120, width: int = 171) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(load_sample_image("china.jpg")).resize((width, height)))


def compiled(*transforms: Transform, dtype: str | None = None, layout: str = "NHWC") -> Pipeline:
    return compile_pipeline(transforms, dtype=dtype, layout=layout, custom=NONE)


def applied(
    pipeline: Pipeline, image: NDArray[np.uint8], seed: int = 0, epoch: int = 0, sample: int = 0
) -> NDArray[Any]:
    """What lands in the middle slot of a batch of three, whose other slots stay as they were."""
    batch = np.full((3, *pipeline.output.shape), 77, pipeline.output.dtype)
    before = image.copy()
    pipeline.apply(image, {}, seed, epoch, sample, batch[1])
    assert (batch[[0, 2]] == 77).all()
    np.testing.assert_array_equal(image, before)
    slot: NDArray[Any] = batch[1]
    return slot


def run(*transforms: Transform, image: NDArray[np.uint8] | None = None, **address: int) -> NDArray[Any]:
    return applied(compiled(*transforms), photo() if image is None else image, **address)


# --- geometry


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
def test_resize_to_a_size_is_pillows(interpolation: Any) -> None:
    expected = Image.fromarray(photo()).resize((90, 50), getattr(Image.Resampling, interpolation.upper()))
    np.testing.assert_array_equal(run(Resize((50, 90), interpolation=interpolation)), expected)


@pytest.mark.parametrize(
    ("shape", "resized"),
    [((120, 171), (50, 71)), ((171, 120), (71, 50)), ((70, 110), (50, 78)), ((50, 99), (50, 99)), ((7, 7), (50, 50))],
)
def test_resize_of_the_shorter_side_rounds_the_longer_one_down(
    shape: tuple[int, int], resized: tuple[int, int]
) -> None:
    whole = Image.fromarray(photo(*shape)).resize(resized[::-1], Image.Resampling.BILINEAR)
    result = run(Resize(50), CenterCrop(resized), image=photo(*shape))
    np.testing.assert_array_equal(result, whole)


def test_an_image_too_thin_for_resize_is_undecodable_rather_than_gigabytes() -> None:
    with pytest.raises(DecodeError, match=r"1 x 1000 .* 100 x 100000"):
        run(Resize(100), CenterCrop(10), image=np.zeros((1, 1000, 3), np.uint8))


@pytest.mark.parametrize("side", [96, 97, 120, 121])
@pytest.mark.parametrize("cut", [30, 31])
def test_center_crop_cuts_where_torchvision_does(side: int, cut: int) -> None:
    image = photo(side, 171)
    top, left = round((side - cut) / 2.0), round((171 - cut) / 2.0)
    np.testing.assert_array_equal(run(CenterCrop(cut), image=image), image[top : top + cut, left : left + cut])


def test_center_crop_pads_a_smaller_image_evenly_with_the_odd_pixel_last() -> None:
    image = photo(5, 100)
    result = run(CenterCrop((10, 60), fill=9), image=image)
    np.testing.assert_array_equal(result[2:7], image[:, 20:80])
    assert (result[:2] == 9).all()
    assert (result[7:] == 9).all()


def test_random_crop_cuts_every_window_about_equally_often() -> None:
    image = np.arange(4 * 5, dtype=np.uint8).reshape(4, 5, 1).repeat(3, axis=2)
    pipeline = compiled(RandomCrop((2, 3)))
    corners = [int(applied(pipeline, image, sample=sample)[0, 0, 0]) for sample in range(1800)]
    counts = {corner: corners.count(corner) for corner in set(corners)}
    assert sorted(counts) == [0, 1, 2, 5, 6, 7, 10, 11, 12]
    assert min(counts.values()) > 140


def test_random_crop_after_padding_is_a_window_of_the_padded_image() -> None:
    image = photo(20, 30)
    padded = np.pad(image, ((3, 3), (5, 5), (0, 0)), constant_values=4)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (20, 30, 3))[:, :, 0]
    places = set()
    for sample in range(60):
        result = run(RandomCrop((20, 30), padding=(3, 5), fill=4), image=image, sample=sample)
        matches = np.argwhere((windows == result).all(axis=(2, 3, 4)))
        assert len(matches) == 1
        places.add(tuple(matches[0]))
    assert len(places) > 30


def test_random_crop_pads_a_smaller_image_evenly() -> None:
    image = photo(5, 100)
    for sample in range(5):
        result = run(RandomCrop((10, 60), fill=9), image=image, sample=sample)
        assert (result[:2] == 9).all()
        assert (result[7:] == 9).all()
        assert not (result[2:7] == 9).all(axis=(0, 2)).any()


def test_random_crop_with_a_vast_padding_needs_no_vast_memory() -> None:
    assert (run(RandomCrop(8, padding=16_384, fill=3), image=photo(9, 9)) == 3).mean() > 0.9


def reference_window(draws: Draws, height: int, width: int, transform: RandomResizedCrop) -> tuple[int, int, int, int]:
    """torchvision's `RandomResizedCrop.get_params`, with this project's draws in its order of drawing."""
    for _ in range(10):
        target_area = height * width * draws.uniform(*transform.scale)
        aspect_ratio = math.exp(draws.uniform(math.log(transform.ratio[0]), math.log(transform.ratio[1])))
        w = int(round(math.sqrt(target_area * aspect_ratio)))  # noqa: RUF046
        h = int(round(math.sqrt(target_area / aspect_ratio)))  # noqa: RUF046
        if 0 < w <= width and 0 < h <= height:
            return draws.integers(0, height - h + 1), draws.integers(0, width - w + 1), h, w
    in_ratio = width / height
    if in_ratio < min(transform.ratio):
        w, h = width, round(width / min(transform.ratio))
    elif in_ratio > max(transform.ratio):
        h, w = height, round(height * max(transform.ratio))
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize("shape", [(120, 171), (171, 40), (10, 200), (200, 10), (2, 2)])
def test_random_resized_crop_cuts_torchvisions_windows(shape: tuple[int, int]) -> None:
    transform = RandomResizedCrop(24, interpolation="bicubic")
    image = photo(*shape)
    for sample in range(20):
        top, left, height, width = reference_window(Draws(3, 1, sample, 0), *shape, transform)
        window = Image.fromarray(image[top : top + height, left : left + width])
        expected = window.resize((24, 24), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(run(transform, image=image, seed=3, epoch=1, sample=sample), expected)


def test_random_resized_crop_of_what_fits_no_ratio_takes_the_largest_window_in_the_middle() -> None:
    image = photo(10, 101)
    result = run(RandomResizedCrop(10, scale=(1.0, 1.0), ratio=(0.5, 2.0)), image=image)
    expected = Image.fromarray(image[:, 40:60]).resize((10, 10), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(result, expected)
    pixel = np.full((1, 1, 3), 200, np.uint8)
    for ratio in ((3.0, 4.0), (0.2, 0.3)):
        assert (run(RandomResizedCrop(4, scale=(1.0, 1.0), ratio=ratio), image=pixel) == 200).all()


@pytest.mark.parametrize(("axis", "mirrored"), [("horizontal", np.s_[:, ::-1]), ("vertical", np.s_[::-1])])
def test_random_flip_mirrors_with_its_probability(axis: Any, mirrored: Any) -> None:
    image = photo(8, 8)
    kinds = []
    for sample in range(400):
        result = run(CenterCrop(8), RandomFlip(0.25, axis), image=image, sample=sample)
        kinds.append(np.array_equal(result, image[mirrored]))
        assert kinds[-1] or np.array_equal(result, image)
    assert 60 < sum(kinds) < 140
    np.testing.assert_array_equal(run(RandomFlip(1.0, axis), CenterCrop(8), image=image), image[mirrored])
    np.testing.assert_array_equal(run(RandomFlip(0.0, axis), CenterCrop(8), image=image), image)


@pytest.mark.parametrize("degrees", [30.0, -75.0, 180.0])
def test_random_rotation_turns_counter_clockwise_about_the_middle(degrees: float) -> None:
    result = run(RandomRotation((degrees, degrees), fill=9), CenterCrop((120, 171))).astype(int)
    reference = Image.fromarray(photo()).rotate(degrees, Image.Resampling.BILINEAR, fillcolor=(9, 9, 9))
    outside = np.asarray(Image.new("L", (171, 120), 255).rotate(degrees, Image.Resampling.BILINEAR)) == 0
    near = [np.roll(outside, shift, axis) for shift in (-1, 1) for axis in (0, 1)]
    interior = ~np.logical_or.reduce([outside, *near])
    interior[[0, -1]] = interior[:, [0, -1]] = False
    difference = abs(result - np.asarray(reference))[interior]
    assert interior.sum() > 3000
    assert np.percentile(difference, 99) <= 3
    assert difference.mean() < 0.7  # Pillow rounds down
    assert (result[outside] == 9).all(axis=1).sum() >= 0.9 * outside.sum()


def test_random_rotation_draws_an_angle_on_either_side() -> None:
    results = {run(RandomRotation(40), CenterCrop(60), sample=sample).tobytes() for sample in range(20)}
    assert len(results) == 20
    np.testing.assert_array_equal(run(RandomRotation(0), CenterCrop((120, 171))), photo())


# --- colour


def test_grayscale_is_pillows_to_the_bit_for_every_colour() -> None:
    colours = np.stack(np.meshgrid(*[np.arange(256, dtype=np.uint8)] * 3, indexing="ij"), axis=-1)[::3]
    colours = np.ascontiguousarray(colours).reshape(86 * 256, 256, 3)
    np.testing.assert_array_equal(color.luma(colours), Image.fromarray(colours).convert("L"))


def test_grayscale_gives_the_channels_asked_for() -> None:
    gray = np.asarray(Image.fromarray(photo()).convert("L"))
    crop = CenterCrop((120, 171))
    np.testing.assert_array_equal(run(crop, Grayscale())[:, :, 0], gray)
    np.testing.assert_array_equal(run(crop, Grayscale(3)), np.stack([gray] * 3, axis=-1))
    np.testing.assert_array_equal(run(crop, Grayscale(), Grayscale())[:, :, 0], gray)
    np.testing.assert_array_equal(run(crop, Grayscale(), Grayscale(3)), np.stack([gray] * 3, axis=-1))


@pytest.mark.parametrize("factor", [0.0, 0.3, 0.9, 1.0, 1.4, 2.5, 10.0])
def test_colour_factors_mean_what_pillow_takes_them_for(factor: float) -> None:
    picture = Image.fromarray(photo())
    np.testing.assert_array_equal(color.brightness(photo(), factor), ImageEnhance.Brightness(picture).enhance(factor))
    np.testing.assert_array_equal(color.contrast(photo(), factor), ImageEnhance.Contrast(picture).enhance(factor))
    expected = np.asarray(ImageEnhance.Color(picture).enhance(factor)).astype(int)
    assert abs(color.saturation(photo(), factor) - expected).max() <= 1


@pytest.mark.parametrize("turns", [-0.5, -0.1, 0.02, 0.3, 0.5])
def test_hue_is_moved_as_pillow_moves_it_within_its_rounding(turns: float) -> None:
    hsv = np.array(Image.fromarray(photo()).convert("HSV"))
    hsv[:, :, 0] += np.array(turns * 255).astype(np.int64).astype(np.uint8)
    expected = np.asarray(Image.frombytes("HSV", (171, 120), hsv.tobytes()).convert("RGB")).astype(int)
    difference = abs(color.hue(photo(), turns) - expected)
    assert difference.mean() < 0.5
    assert (difference <= 2).mean() > 0.98
    assert difference.max() <= 8


def test_color_jitter_applies_its_factors_in_a_random_order() -> None:
    transform = ColorJitter(brightness=(1.7, 1.7), contrast=(0.4, 0.4), saturation=(0.2, 0.2), hue=(0.3, 0.3))
    changes = ((color.brightness, 1.7), (color.contrast, 0.4), (color.saturation, 0.2), (color.hue, 0.3))
    possible = {}
    for order in itertools.permutations(changes):
        image = photo(30, 30)
        for change, factor in order:
            image = change(image, factor)
        possible[image.tobytes()] = order
    seen = {run(CenterCrop(30), transform, image=photo(30, 30), sample=sample).tobytes() for sample in range(100)}
    assert seen <= possible.keys()
    assert len(seen) > 12


def test_color_jitter_draws_factors_from_its_bounds() -> None:
    image = np.full((4, 4, 3), 100, np.uint8)
    levels = [int(run(CenterCrop(4), ColorJitter(brightness=0.5), image=image, sample=n)[0, 0, 0]) for n in range(300)]
    assert 49 <= min(levels) < 60
    assert 140 < max(levels) <= 150
    darker = ColorJitter(brightness=(0.1, 0.2))
    assert all(9 <= run(CenterCrop(4), darker, image=image, sample=n).max() <= 20 for n in range(50))


def test_color_jitter_of_a_gray_channel_changes_brightness_and_contrast_only() -> None:
    chain = (CenterCrop(30), Grayscale())
    np.testing.assert_array_equal(run(*chain, ColorJitter(saturation=0.9, hue=0.5)), run(*chain))
    assert not np.array_equal(run(*chain, ColorJitter(brightness=0.9)), run(*chain))


def test_color_jitter_without_factors_changes_nothing() -> None:
    np.testing.assert_array_equal(run(CenterCrop(30), ColorJitter()), run(CenterCrop(30)))


# --- the end: dtype and layout


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", [None, "uint8", "float32", "float16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_dtype_and_layout_holds_the_same_values(layout: str, dtype: str | None, channels: int) -> None:
    chain = (CenterCrop((31, 40)), Grayscale()) if channels == 1 else (CenterCrop((31, 40)),)
    expected = run(*chain)
    pipeline = compiled(*chain, dtype=dtype, layout=layout)
    result = applied(pipeline, photo())
    assert result.dtype == pipeline.output.dtype == (dtype or "uint8")
    assert pipeline.output.shape == result.shape
    np.testing.assert_array_equal(result if layout == "NHWC" else result.transpose(1, 2, 0), expected)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("mean", "std"), [((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), (0.5, 0.25), ((0.1,), 1)])
def test_normalize_is_the_formula_rounded_once(mean: Any, std: Any, dtype: Any, layout: str) -> None:
    pipeline = compiled(CenterCrop((31, 40)), Normalize(mean, std, dtype=dtype), layout=layout)
    result = applied(pipeline, photo())
    expected = ((run(CenterCrop((31, 40))) / 255.0 - np.array(mean)) / np.array(std)).astype(dtype)
    assert pipeline.output.dtype == dtype
    np.testing.assert_array_equal(result if layout == "NHWC" else result.transpose(1, 2, 0), expected)


def test_normalize_of_one_channel_takes_one_number() -> None:
    pipeline = compiled(CenterCrop(8), Grayscale(), Normalize(0.5, 0.5), layout="NCHW")
    assert pipeline.output.shape == (1, 8, 8)
    with pytest.raises(PlanError, match="mean has 3 numbers for images of 1 channels"):
        compiled(CenterCrop(8), Grayscale(), Normalize((0.5, 0.5, 0.5), 0.5))


# --- plans that make no batch


@pytest.mark.parametrize(
    "transforms", [(), (Resize(256),), (RandomFlip(),), (Resize(256), RandomFlip(), ColorJitter(0.5)), (Grayscale(),)]
)
def test_transforms_that_end_in_no_one_shape_say_what_to_add(transforms: Sequence[Transform]) -> None:
    with pytest.raises(PlanError, match=r"add CenterCrop\(224\) or Resize\(\(224, 224\)\) at the end"):
        compiled(*transforms)
    with pytest.raises(PlanError, match=r"add CenterCrop\(224\) or Resize\(\(224, 224\)\) before Normalize"):
        compiled(*transforms, Normalize(0.5, 0.5))


def test_normalize_must_be_last_and_once() -> None:
    with pytest.raises(PlanError, match="Normalize must come last, found RandomFlip after it"):
        compiled(CenterCrop(8), Normalize(0.5, 0.5), RandomFlip())
    with pytest.raises(PlanError, match="Normalize must come last, found Normalize after it"):
        compiled(CenterCrop(8), Normalize(0.5, 0.5), Normalize(0.5, 0.5))


@pytest.mark.parametrize(("dtype", "own"), [("uint8", "float32"), ("float16", "float32"), ("float32", "float16")])
def test_a_dtype_other_than_normalizes_is_an_error_that_names_both(dtype: str, own: Any) -> None:
    with pytest.raises(PlanError, match=f"dtype is '{dtype}', but Normalize gives '{own}'"):
        compiled(CenterCrop(8), Normalize(0.5, 0.5, dtype=own), dtype=dtype)
    assert compiled(CenterCrop(8), Normalize(0.5, 0.5, dtype=own), dtype=own).output.dtype == own


def test_normalize_to_more_than_a_half_can_hold_is_an_error() -> None:
    with pytest.raises(PlanError, match="more than float16 can hold"):
        compiled(CenterCrop(8), Normalize(0, 1e-6, dtype="float16"))


def test_an_unknown_transform_is_an_error_that_lists_those_there_are() -> None:
    with pytest.raises(PlanError, match="no transform 'Blur'; there are Resize, CenterCrop,"):
        compiled(Custom("Blur"), CenterCrop(8))


def test_the_resolved_transforms_and_versions_stand_in_the_plans_order() -> None:
    pipeline = compiled(Resize(256), CenterCrop(224), Normalize(0.5, 0.5))
    assert pipeline.resolved == [
        {"name": "Resize", "size": 256},
        {"name": "CenterCrop", "size": 224},
        {"name": "Normalize", "mean": 0.5, "std": 0.5},
    ]
    assert pipeline.versions == [1, 1, 1]


# --- any chain


SIZES = st.one_of(st.integers(1, 24), st.tuples(st.integers(1, 24), st.integers(1, 24)))
FILL = st.integers(0, 255)
HOW = {"antialias": st.booleans(), "interpolation": st.sampled_from(["bilinear", "bicubic", "nearest"])}
STEPS = st.one_of(
    st.builds(Resize, SIZES, **HOW),
    st.builds(CenterCrop, SIZES, FILL),
    st.builds(RandomCrop, SIZES, st.integers(0, 9), FILL),
    st.builds(RandomResizedCrop, SIZES, **HOW),
    st.builds(RandomFlip, st.floats(0, 1), st.sampled_from(["horizontal", "vertical"])),
    st.builds(RandomRotation, st.floats(0, 360), FILL),
    st.builds(ColorJitter, *[st.floats(0, 2)] * 3, st.floats(0, 0.5)),
    st.builds(Grayscale, st.sampled_from([1, 3])),
)
IMAGES = st.builds(
    lambda height, width, seed: np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 100),
)


@given(
    chain=st.lists(STEPS, max_size=5),
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    image=IMAGES,
    dtype=st.sampled_from(["uint8", "float32", "float16"]),
    layout=st.sampled_from(["NHWC", "NCHW"]),
    address=st.tuples(*[st.integers(0, 2**63 - 1)] * 3),
)
@settings(max_examples=300, deadline=None)
def test_any_chain_fills_its_slot_with_a_function_of_image_and_address(
    chain: list[Transform],
    size: tuple[int, int],
    image: NDArray[np.uint8],
    dtype: str,
    layout: str,
    address: tuple[int, int, int],
) -> None:
    pipeline = compiled(*chain, CenterCrop(size), dtype=dtype, layout=layout)
    first = applied(pipeline, image, *address)
    slot = np.full(pipeline.output.shape, 33, dtype)
    pipeline.apply(image, {}, *address, slot)
    np.testing.assert_array_equal(first, slot)
    assert np.isfinite(slot).all()


@given(chain=st.lists(STEPS, max_size=4), image=IMAGES)
@settings(max_examples=150, deadline=None)
def test_inferred_shapes_are_the_shapes_produced(chain: list[Transform], image: NDArray[np.uint8]) -> None:
    pipeline = compiled(CenterCrop(image.shape[:2]), *chain)
    assert applied(pipeline, image).shape == pipeline.output.shape


RANDOM = (RandomResizedCrop(16), RandomFlip(), RandomRotation(90), ColorJitter(0.8, 0.8, 0.8, 0.3), RandomCrop(16, 3))


def test_random_draws_depend_on_seed_epoch_and_sample_and_on_each_of_them() -> None:
    pipeline = compiled(*RANDOM)
    addresses = list(itertools.product((0, 1), (0, 1, 2), range(20)))
    results = {address: applied(pipeline, photo(), *address).tobytes() for address in addresses}
    assert len(set(results.values())) == len(addresses)
    again = compiled(*RANDOM)
    for address in reversed(addresses):
        assert applied(again, photo(), *address).tobytes() == results[address]


def test_the_same_transform_at_two_places_draws_apart() -> None:
    pipeline = compiled(RandomFlip(), RandomFlip(), CenterCrop(8))
    image = photo(8, 8)
    flipped = [not np.array_equal(applied(pipeline, image, sample=sample), image) for sample in range(100)]
    assert 25 < sum(flipped) < 75


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (300, 1)])
@pytest.mark.parametrize("transform", [*RANDOM, Resize((9, 9)), CenterCrop(9), Grayscale()])
def test_extreme_images_pass_through_every_transform(transform: Transform, shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 50, np.uint8)
    assert run(transform, Resize((5, 6)), image=image).shape[:2] == (5, 6)
