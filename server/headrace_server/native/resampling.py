"""Antialiased resizing in C: see resample.c."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .buffers import address_of
from .loading import loaded

Edges = tuple[float, float, float, float]
"""(left, top, right, bottom) in pixels."""

_BAD_ARGUMENT, _NO_MEMORY = 1, 2


@dataclass(frozen=True)
class Resampler:
    """The compiled resampling, as one kernel of the processor's does it; all of them give the same pixels."""

    function: Any
    kernel: int
    tall_down_first: bool
    """Whether an image that loses much more height than width is made lower before it is made narrower, which rounds
    differently. Pillow does so since version 13."""

    def __call__(
        self, image: NDArray[np.uint8], size: tuple[int, int], edges: Edges, interpolation: str, out: NDArray[np.uint8]
    ) -> None:
        """Resizes the part between the edges to size (height, width), into `out`: C-contiguous, (*size, C), uint8.

        The image is (H, W, C), uint8, C 1 or 3; it is copied first unless its rows are contiguous. Releases the
        interpreter's lock. Raises ValueError for edges outside the image, MemoryError without memory.
        """
        channels = image.shape[2]
        if not out.flags.carray or out.shape != (*size, channels) or out.dtype.char != "B":
            raise ValueError(
                f"out is {out.dtype} {out.shape}, expected contiguous uint8 {(*size, channels)} that may be written to"
            )
        if image.strides[1:] != (channels, 1) or image.strides[0] < image.shape[1] * channels:
            image = np.ascontiguousarray(image)
        height, width = image.shape[:2]
        stride = image.strides[0] if height > 1 else width * channels
        down_first = self.tall_down_first and 0 < height - size[0] > 2 * (width - size[1])
        status = self.function(
            *(self.kernel, down_first, interpolation == "bicubic", channels),
            *(address_of(image), height, width, stride, *edges),
            *(address_of(out), *size, size[1] * channels),
        )
        if status == _NO_MEMORY:
            raise MemoryError(f"no memory to resize an image of {image.shape} to {size}")
        if status == _BAD_ARGUMENT:
            raise ValueError(f"cannot resize what lies within {edges} of an image of {image.shape} to {size}")


def resamplers(*, tall_down_first: bool) -> list[Resampler]:
    """One for each kernel that this processor runs, the fastest last; none where the library was not compiled."""
    library = loaded()
    if library is None:
        return []
    kernels = range(library.headrace_best_kernel() + 1)
    return [Resampler(library.headrace_resample, kernel, tall_down_first) for kernel in kernels]
