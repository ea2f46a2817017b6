"""A plan's transforms, checked and made ready: one object that fills a batch's slots."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import cv2
from numpy.typing import NDArray

from headrace_proto import transforms as proto
from headrace_proto.plan import Output
from headrace_server.decode import MAX_PIXELS, Decoded, Reduction

from .base import Cut, Image, PlanError, Sample, ScalableStep, Shape, Step, TransformError
from .color import ColorJitterStep, GrayscaleStep
from .custom import CustomTransforms
from .geometry import (
    CenterCropStep,
    CropStep,
    RandomCropStep,
    RandomFlipStep,
    RandomResizedCropStep,
    RandomRotationStep,
    ResizeStep,
)
from .output import Write, output_dtype, writer

__all__ = ["Pipeline", "PlanError", "TransformError", "compile_pipeline"]

_STEPS: dict[type[proto.Transform], Callable[[Any, int], Step]] = {
    proto.Resize: ResizeStep,
    proto.CenterCrop: CenterCropStep,
    proto.RandomCrop: RandomCropStep,
    proto.RandomResizedCrop: RandomResizedCropStep,
    proto.RandomFlip: RandomFlipStep,
    proto.RandomRotation: RandomRotationStep,
    proto.ColorJitter: ColorJitterStep,
    proto.Grayscale: GrayscaleStep,
}
_DECODED = Shape(None, None, 3)
_SIZES_KEPT = 4096
"""Of pictures, of all plans together: some two megabytes."""
_NO_SAMPLE = Sample({}, 0, 0, 0)
"""For the steps that look at none."""

Picture = Image | Decoded
"""An image, or one that was decoded smaller and that no step has seen yet."""


@dataclass(frozen=True)
class Pipeline:
    """The way of a decoded image into its slot. Safe to use from several threads at once."""

    output: Output
    """The image's column: the final dtype, and one sample's shape in the plan's layout."""
    resolved: list[dict[str, Any]]
    """The transforms as JSON data, without what is at its default."""
    versions: list[int | str]
    """Each transform's version; whatever changes pixels changes one of them."""
    steps: tuple[Step, ...]
    fixed: int
    """How many steps come before the first random one."""
    beginning: str
    """Names these steps: images that went through equal ones are equal."""
    looks_at_labels: bool
    """Whether a step is the operator's own, which may."""
    _shape: tuple[int, ...]
    _write: Write
    _in_place: bool

    @property
    def is_copy(self) -> bool:
        """Whether an image goes into its slot as it is, byte for byte."""
        return not self.steps and self._in_place

    @cached_property
    def _scalable(self) -> ScalableStep | None:
        """The first step, where a picture may be decoded smaller for it."""
        step = self.steps[0] if self.steps else None
        return step if isinstance(step, ScalableStep) else None

    def apply(
        self, image: Image, labels: Mapping[str, Any], seed: int, epoch: int, sample: int, out: NDArray[Any]
    ) -> None:
        """Fills the slot `out`, C-contiguous and of the output's shape and dtype, from a decoded image (H, W, 3).

        The image is only read. Raises TransformError where an operator's transform fails or does not keep its word, and
        DecodeError for the rare image that no transform could bring into shape, which is a matter of its content.
        """
        self.finish(self.begin(image, out), labels, seed, epoch, sample, out)

    def reduction(self, seed: int, epoch: int, sample: int) -> Reduction:
        """By what this sample's picture may be decoded smaller, given its size; it is that of all, if `fixed` is not 0.

        Nothing else decides about it, least of all how busy the server is: a sample is the same everywhere.
        """
        step = self._scalable
        if step is None:
            return lambda _height, _width: 1
        return lambda height, width: step.reduction(height, width, Sample({}, seed, epoch, sample))

    def begin(self, picture: Picture, out: NDArray[Any]) -> Picture:
        """The image after the steps before the first random one, the same in every epoch; it may be `out` itself."""
        if isinstance(picture, Decoded) and picture.factor == 1:
            picture = picture.image
        return self._run(0, self.fixed, picture, _NO_SAMPLE, out) if self.fixed else picture

    def finish(
        self, picture: Picture, labels: Mapping[str, Any], seed: int, epoch: int, sample: int, out: NDArray[Any]
    ) -> None:
        """Goes on with what `begin` gave, now or in an earlier epoch, and fills the slot."""
        self._finish(self.fixed, picture, Sample(labels, seed, epoch, sample), out)

    @property
    def can_cut(self) -> bool:
        """Whether there are pictures of which `cut` says something."""
        return bool(self.steps) and self.steps[0].cuts

    def cut(self, height: int, width: int, seed: int, epoch: int, number: int) -> Cut | None:
        """What the first step does to a picture of this size, where it can be told apart from the others; see there.

        And what a crop behind it leaves of that: nothing else need be resized, nor even decoded. And what flips behind
        these do to it.
        """
        sample = Sample({}, seed, epoch, number)
        steps = self.steps[0], self._crop_behind
        cut = _window(*steps, height, width, sample) if self._draws_window else _kept_window(*steps, height, width)
        if cut is not None:
            for flip in self._flips_behind:
                cut = flip.flip_cut(cut, sample)
        return cut

    @cached_property
    def _draws_window(self) -> bool:
        return self.fixed < self._cropping

    @cached_property
    def _crop_behind(self) -> CropStep | None:
        """The second step, where it takes a window of whatever a first one has resized."""
        behind = self.steps[1] if len(self.steps) > 1 else None
        if self._scalable is None or not isinstance(behind, CropStep):
            return None
        return behind if behind.always_inside(*self._scalable.least) else None

    @property
    def _cropping(self) -> int:
        """How many steps say what the window is and what becomes of it."""
        return 1 if self._crop_behind is None else 2

    @cached_property
    def _flips_behind(self) -> tuple[RandomFlipStep, ...]:
        flips: list[RandomFlipStep] = []
        for step in self.steps[self._cropping :]:
            if not isinstance(step, RandomFlipStep):
                break
            flips.append(step)
        return tuple(flips)

    @cached_property
    def _cutting(self) -> int:
        """How many steps `cut` is about."""
        return self._cropping + len(self._flips_behind)

    @cached_property
    def ends_with_cut(self) -> bool:
        """Whether what `cut` says is put into the slot, and nothing else is to be done."""
        return self._in_place and len(self.steps) == self._cutting

    def finish_cut(
        self, image: Image, labels: Mapping[str, Any], seed: int, epoch: int, sample: int, out: NDArray[Any]
    ) -> None:
        """Goes on with what `cut` says, and fills the slot. Raises as `apply` does."""
        self._finish(self._cutting, image, Sample(labels, seed, epoch, sample), out)

    def _finish(self, first: int, picture: Picture, sample: Sample, out: NDArray[Any]) -> None:
        image = self._run(first, len(self.steps), picture, sample, out)
        if image is out:
            return
        if image.shape != self._shape:
            raise TransformError(f"the transforms gave an image of {image.shape}, expected {self._shape}")
        self._write(image, out)

    def _run(self, first: int, last: int, picture: Picture, sample: Sample, out: NDArray[Any]) -> Image:
        if isinstance(picture, Decoded):
            image = self._first_of_smaller(picture, sample, out)
            first = 1
        else:
            image = picture
        for index in range(first, last):
            slot = self._slot(index, out)
            try:
                image = self.steps[index].apply(image, sample, slot)
            except cv2.error as error:
                raise TransformError(
                    f"{self.resolved[index]['name']} failed on an image of {image.shape}: {error}"
                ) from error
        return image

    def _first_of_smaller(self, picture: Decoded, sample: Sample, out: NDArray[Any]) -> Image:
        if self._scalable is None:
            raise TypeError(
                f"the picture is {picture.factor} times smaller, {self.resolved[0]['name']} needs it in full"
            )
        return self._scalable.apply_smaller(picture, sample, self._slot(0, out))

    def _slot(self, index: int, out: NDArray[Any]) -> NDArray[Any] | None:
        return out if self._in_place and index == len(self.steps) - 1 else None


def _window(
    first: Step, crop_behind: CropStep | None, height: int, width: int, sample: Sample = _NO_SAMPLE
) -> Cut | None:
    """What a first step does to a picture of this size, and a crop behind it leaves of that."""
    cut = first.cut(height, width, sample)
    if cut is None or crop_behind is None:
        return cut
    return cut._replace(wanted=crop_behind.window(*cut.size, sample))


_kept_window = lru_cache(_SIZES_KEPT)(_window)
"""Where nothing is drawn: datasets have few sizes of pictures, and some have one."""


def compile_pipeline(
    transforms: Sequence[proto.Transform],
    *,
    dtype: str | None,
    layout: str,
    custom: CustomTransforms,
    image_shape: tuple[int, int, int] | None = None,
) -> Pipeline:
    """Checks the transforms against each other and makes them ready. `dtype` and `layout` are the plan's.

    `image_shape` is (height, width, channels) where all images have one; None stands for images of any size in RGB.
    Raises PlanError where they do not end in one shape, Normalize is not last, one does not exist or fit, or images on
    the way would be larger than any that is decoded.
    """
    normalize = _normalize(transforms)
    pixels = transforms[:-1] if normalize else transforms
    steps = tuple(_step(transform, index, custom) for index, transform in enumerate(pixels))
    shape = _DECODED if image_shape is None else Shape(*image_shape)
    if steps and shape.channels not in (1, 3):
        raise PlanError(
            f"transforms of pixels take images of 1 or 3 channels, and these have {shape.channels}: name none"
        )
    for index, step in enumerate(steps):
        shape = step.shape(shape)
        if index < len(steps) - 1:  # the last one's are the batch's, which the server bounds
            _check_pixels(shape, transforms[index])
    sides = _one_size(shape, "before Normalize" if normalize else "at the end")
    final = output_dtype(normalize, dtype)
    resolved = [_resolved(transform, custom) for transform in transforms]
    versions = [_version(transform, custom) for transform in transforms]
    fixed = next((index for index, step in enumerate(steps) if step.random), len(steps))
    return Pipeline(
        output=Output("image", final, (*sides, shape.channels) if layout == "NHWC" else (shape.channels, *sides)),
        resolved=resolved,
        versions=versions,
        steps=steps,
        fixed=fixed,
        looks_at_labels=any(isinstance(transform, proto.Custom) for transform in transforms),
        beginning=json.dumps([resolved[:fixed], versions[:fixed]], sort_keys=True),
        _shape=(*sides, shape.channels),
        _write=writer(normalize, final, layout, shape.channels),
        _in_place=final == "uint8" and layout == "NHWC",
    )


def _normalize(transforms: Sequence[proto.Transform]) -> proto.Normalize | None:
    for index, transform in enumerate(transforms):
        if isinstance(transform, proto.Normalize):
            if index == len(transforms) - 1:
                return transform
            raise PlanError(f"Normalize must come last, found {transforms[index + 1].name} after it")
    return None


def _step(transform: proto.Transform, index: int, custom: CustomTransforms) -> Step:
    if isinstance(transform, proto.Custom):
        return custom.step(transform, index)
    return _STEPS[type(transform)](transform, index)


def _resolved(transform: proto.Transform, custom: CustomTransforms) -> dict[str, Any]:
    return custom.resolved(transform) if isinstance(transform, proto.Custom) else transform.to_json()


def _version(transform: proto.Transform, custom: CustomTransforms) -> int | str:
    return custom.version(transform) if isinstance(transform, proto.Custom) else transform.version


def _check_pixels(shape: Shape, transform: proto.Transform) -> None:
    if shape.height is not None and shape.width is not None and shape.height * shape.width > MAX_PIXELS:
        raise PlanError(
            f"{transform.name} gives images of {shape.height} x {shape.width} (height x width); "
            f"before the last transform at most {MAX_PIXELS:,} pixels are allowed"
        )


def _one_size(shape: Shape, place: str) -> tuple[int, int]:
    if shape.height is None or shape.width is None:
        raise PlanError(
            "the transforms do not give every image the same height and width, as a batch needs: "
            f"add CenterCrop(224) or Resize((224, 224)) {place}"
        )
    return shape.height, shape.width
