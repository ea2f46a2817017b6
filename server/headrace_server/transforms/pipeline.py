"""A plan's transforms, checked and made ready: one object that fills a batch's slots."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
from numpy.typing import NDArray

from headrace_proto import transforms as proto
from headrace_proto.plan import Output
from headrace_server.decode import MAX_PIXELS, Decoded, Reduction

from .base import NO_SAMPLE, Cut, Image, PlanError, Sample, ScalableStep, Shape, Step, TransformError
from .color import ColorJitterStep, GrayscaleStep
from .custom import CustomTransforms
from .cutting import Cutting, cutting_of
from .geometry import (
    CenterCropStep,
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
        return self._run(0, self.fixed, picture, NO_SAMPLE, out) if self.fixed else picture

    def finish(
        self, picture: Picture, labels: Mapping[str, Any], seed: int, epoch: int, sample: int, out: NDArray[Any]
    ) -> None:
        """Goes on with what `begin` gave, now or in an earlier epoch, and fills the slot."""
        self._finish(self.fixed, picture, Sample(labels, seed, epoch, sample), out)

    @property
    def can_cut(self) -> bool:
        """Whether there are pictures of which `cut` says something."""
        return self._cutting is not None

    def cut(self, height: int, width: int, seed: int, epoch: int, number: int) -> Cut | None:
        """What the first steps do to a picture of this size, where that can be told; see `Cutting.cut`."""
        return None if self._cutting is None else self._cutting.cut(height, width, Sample({}, seed, epoch, number))

    @cached_property
    def _cutting(self) -> Cutting | None:
        return cutting_of(self.steps)

    @cached_property
    def ends_with_cut(self) -> bool:
        """Whether what `cut` says is put into the slot, and nothing else is to be done."""
        return self._in_place and self._cutting is not None and len(self.steps) == self._cutting.count

    def finish_cut(
        self, image: Image, labels: Mapping[str, Any], seed: int, epoch: int, sample: int, out: NDArray[Any]
    ) -> None:
        """Goes on with what `cut` says, and fills the slot. Raises as `apply` does."""
        assert self._cutting is not None
        self._finish(self._cutting.count, image, Sample(labels, seed, epoch, sample), out)

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
