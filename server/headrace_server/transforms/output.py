"""The end of every pipeline: an image's pixels into the batch's slot, in its dtype and layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from headrace_proto import transforms as proto

from .base import Image, PlanError

Write = Callable[[Image, NDArray[Any]], None]


def output_dtype(normalize: proto.Normalize | None, dtype: str | None) -> str:
    """The dtype on the wire. Raises PlanError where the plan's own is not the one that Normalize gives."""
    if normalize is None:
        return dtype or "uint8"
    if dtype not in (None, normalize.dtype):
        raise PlanError(
            f"the plan's dtype is {dtype!r}, but Normalize gives {normalize.dtype!r}: "
            f"leave the plan's dtype out, or make both the same"
        )
    return normalize.dtype


def writer(normalize: proto.Normalize | None, dtype: str, layout: str, channels: int) -> Write:
    """The function that writes an image (H, W, channels), uint8, into a C-contiguous slot of `dtype` in `layout`.

    Raises PlanError if Normalize does not fit the channels, or gives values that the dtype cannot hold.
    """
    table = _table(normalize, dtype, channels)
    if layout == "NHWC":
        return _copy if table is None else _looked_up(table)
    if table is not None:
        return _planes_looked_up(table)
    return _split if dtype == "uint8" else _transposed


def _table(normalize: proto.Normalize | None, dtype: str, channels: int) -> NDArray[Any] | None:
    """What each value becomes in each channel, (256, channels); None if a plain copy does the same faster."""
    values = np.arange(256.0)[:, np.newaxis].repeat(channels, axis=1)
    if normalize is not None:
        mean, std = (_per_channel(normalize, field, channels) for field in ("mean", "std"))
        values = (values / 255 - mean) / std
    elif dtype != "float16":
        return None
    largest = np.abs(values).max()
    if largest > np.finfo(dtype).max:
        raise PlanError(f"Normalize gives values up to {largest:g}, more than {dtype} can hold")
    return values.astype(dtype)


def _per_channel(normalize: proto.Normalize, field: str, channels: int) -> NDArray[np.float64]:
    value = np.atleast_1d(getattr(normalize, field))
    if value.size not in (1, channels):
        raise PlanError(
            f"Normalize: {field} has {value.size} numbers for images of {channels} channels: "
            f"give one number, or {channels}"
        )
    return value.astype(np.float64)


def _copy(image: Image, out: NDArray[Any]) -> None:
    np.copyto(out, image)


def _split(image: Image, out: NDArray[Any]) -> None:
    cv2.split(image, list(out))


def _transposed(image: Image, out: NDArray[Any]) -> None:
    np.copyto(out, image.transpose(2, 0, 1))


def _looked_up(table: NDArray[Any]) -> Write:
    bits = _bits(table)
    rows = np.ascontiguousarray(bits).reshape(1, 256, -1)

    def write(image: Image, out: NDArray[Any]) -> None:
        cv2.LUT(image, rows, dst=out.view(bits.dtype))

    return write


def _planes_looked_up(table: NDArray[Any]) -> Write:
    bits = _bits(table)
    columns = [np.ascontiguousarray(column) for column in bits.T]

    def write(image: Image, out: NDArray[Any]) -> None:
        for plane, column, slot in zip(cv2.split(image), columns, out.view(bits.dtype), strict=True):
            cv2.LUT(plane, column, dst=slot)

    return write


def _bits(table: NDArray[Any]) -> NDArray[Any]:
    """Halves as integers of the same bits: OpenCV looks up either, but knows only these everywhere."""
    return table.view(np.uint16) if table.dtype == np.float16 else table
