"""One sample made: decoded and transformed into its slot, or a good one in its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cache import CacheKey, ImageCache
from .decode import Bounds, Decoded, DecodeError, Reduction, decode_scaled
from .draws import Draws
from .errors import SampleFailed, SampleUndecodable
from .index import text_of
from .plans import ResolvedPlan
from .transforms.base import TransformError
from .transforms.pipeline import Picture

_REPLACEMENT_STREAM = 2**32
"""A stream of draws apart from those of a plan's transforms."""
_MOST_CANDIDATES = 64


class Made(NamedTuple):
    """What stands in a slot: the sample asked for, or its replacement and why."""

    sample: int
    reason: str | None = None


@dataclass(frozen=True)
class TooLarge:
    """A file that was not read, and its bytes."""

    size: int


Read = Callable[[int], bytes | Decoded | TooLarge]
Material = bytes | Decoded | TooLarge | NDArray[np.uint8]
"""What a sample is made of: encoded bytes, a picture that needs no decoding, or a `cached` image."""


@dataclass(frozen=True)
class SampleMaker:
    """Makes the samples of one plan and epoch. Pure but for reading; safe to use from many threads."""

    plan: ResolvedPlan
    epoch: int
    bounds: Bounds
    cache: ImageCache

    def cached(self, sample: int) -> NDArray[np.uint8] | None:
        """The sample's image at the end of the plan's deterministic beginning, if it is kept."""
        image = self.cache.get(self._key(sample))
        if image is None and not self.plan.pipeline.fixed:
            image = self.cache.get(self._key(sample, scalable=True))
            if image is not None and self._reduction(sample)(*image.shape[:2]) != 1:
                return None  # this epoch's pixels are those of a smaller picture, whatever happens to be kept
        return image

    def make(self, sample: int, data: Material, out: NDArray[Any], read: Read) -> Made:
        """Fills the slot `out` from what a sample is made of.

        Where that cannot be decoded, the plan's dataset says whether SampleUndecodable is raised or a good sample
        takes its place; that one is read with `read`. Raises SampleUnavailable as `read` does, and SampleFailed where a
        transform of the operator's does not do what it declared.
        """
        try:
            self._fill(sample, data, out)
        except DecodeError as error:
            if self.plan.dataset.on_error == "raise":
                raise self._undecodable(sample, str(error)) from error
            return self._replace(sample, str(error), out, read)
        return Made(sample)

    def _fill(self, sample: int, data: Material, out: NDArray[Any]) -> None:
        pipeline = self.plan.pipeline
        try:
            if isinstance(data, np.ndarray):
                image: Picture = data
            else:
                decoded = self._decoded(sample, data)
                image = pipeline.begin(decoded, out)
                if self.cache.most_bytes and not isinstance(image, Decoded):
                    self.cache.put(self._key(sample, scalable=decoded.scalable), image)
            pipeline.finish(image, self._labels(sample), self.plan.seed, self.epoch, sample, out)
        except TransformError as error:
            raise self._failed(sample, error) from error

    @property
    def can_cut(self) -> bool:
        """Whether a sample's image may be `cut` by somebody else, and only finished here."""
        return self.plan.pipeline.can_cut and not self.cache.most_bytes

    def finish_cut(self, sample: int, image: NDArray[np.uint8], out: NDArray[Any]) -> None:
        """Fills the slot `out` from what `Pipeline.cut` says. Raises SampleFailed and DecodeError."""
        try:
            self.plan.pipeline.finish_cut(image, self._labels(sample), self.plan.seed, self.epoch, sample, out)
        except TransformError as error:
            raise self._failed(sample, error) from error

    def _failed(self, sample: int, error: TransformError) -> SampleFailed:
        return SampleFailed(str(error), **self._names(sample), stage="transform")

    def _decoded(self, sample: int, data: bytes | Decoded | TooLarge) -> Decoded:
        if isinstance(data, Decoded):
            return data
        if isinstance(data, TooLarge):
            raise DecodeError(f"the file has {data.size:,} bytes, at most {self.bounds.file_bytes:,} are read")
        return decode_scaled(data, self._reduction(sample), max_pixels=self.bounds.pixels)

    def _replace(self, sample: int, reason: str, out: NDArray[Any], read: Read) -> Made:
        """The first sample that can be decoded among draws keyed by (seed, epoch, sample), the same on every server."""
        draws = Draws(self.plan.seed, self.epoch, sample, _REPLACEMENT_STREAM)
        for _ in range(_MOST_CANDIDATES):
            candidate = draws.integers(0, self.plan.samples)
            if candidate == sample:
                continue
            try:
                self._fill(candidate, read(candidate), out)
            except DecodeError:
                continue
            return Made(candidate, reason)
        raise self._undecodable(sample, f"{reason}; and none of {_MOST_CANDIDATES} samples drawn in its place is good")

    def _reduction(self, sample: int) -> Reduction:
        return self.plan.pipeline.reduction(self.plan.seed, self.epoch, sample)

    def _key(self, sample: int, *, scalable: bool = False) -> CacheKey:
        """Where an image is kept. Pictures that no step has seen are apart if other epochs may want them smaller."""
        pipeline = self.plan.pipeline
        beginning = "scalable" if scalable and not pipeline.fixed else pipeline.beginning
        return CacheKey(self.plan.dataset.name, self.plan.info.split, beginning, sample)

    def _labels(self, sample: int) -> dict[str, Any]:
        if not self.plan.pipeline.looks_at_labels or not self.plan.index.labelled:
            return {}  # looking one up costs more than a flip
        return {"label": int(self.plan.index.labels(np.array([sample]))[0])}

    def _names(self, sample: int) -> dict[str, str]:
        key, _ = text_of(self.plan.index.key(sample))
        return {"dataset": self.plan.dataset.name, "split": self.plan.info.split, "key": key}

    def _undecodable(self, sample: int, reason: str) -> SampleUndecodable:
        return SampleUndecodable(reason, **self._names(sample), stage="decode")
