"""How a batch's tensors lie in a payload: the layout that both sides work out from a plan's outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import checks
from .frame import Buffer, FrameError, aligned
from .plan import Output

TENSOR_DTYPES = ("uint8", "int64", "float16", "float32", "float64", "int32", "bool")
"""The dtypes that travel as tensors: little-endian, C order. Strings ("str") travel in the header."""
_LITTLE_ENDIAN = {name: np.dtype(name).newbyteorder("<") for name in TENSOR_DTYPES}
STRING = "str"


def tensor_outputs(outputs: Sequence[Output]) -> list[Output]:
    return [output for output in outputs if output.dtype != STRING]


def string_outputs(outputs: Sequence[Output]) -> list[Output]:
    return [output for output in outputs if output.dtype == STRING]


def nbytes(output: Output, count: int) -> int:
    """Bytes of `count` samples of a tensor output, without padding."""
    size = count * np.dtype(output.dtype).itemsize
    for side in output.shape:
        size *= side  # Python's integers: a hostile shape cannot overflow
    return size


def describe(outputs: Sequence[Output], count: int) -> tuple[list[dict[str, Any]], int]:
    """The header's "tensors" for a batch of `count`, and the payload's length in bytes.

    Tensors stand in the order of the outputs, each at the next multiple of 64.
    """
    tensors: list[dict[str, Any]] = []
    end = 0
    for output in tensor_outputs(outputs):
        if output.dtype not in TENSOR_DTYPES:
            dtype = checks.found(output.dtype)
            raise FrameError(f"{output.name[:80]}: dtype {dtype} does not travel; {', '.join(TENSOR_DTYPES)} do")
        offset, length = aligned(end), nbytes(output, count)
        tensors.append(
            {
                "name": output.name,
                "dtype": output.dtype,
                "shape": [count, *output.shape],
                "offset": offset,
                "length": length,
            }
        )
        end = offset + length
    return tensors, payload_length(tensors)


def payload_length(tensors: Sequence[Mapping[str, Any]]) -> int:
    """The bytes of the payload that has these tensors: it ends with the last."""
    return int(tensors[-1]["offset"] + tensors[-1]["length"]) if tensors else 0


def views(tensors: Sequence[Mapping[str, Any]], payload: Buffer) -> dict[str, NDArray[Any]]:
    """The tensors as arrays that share the payload's memory, by name."""
    return {
        tensor["name"]: np.ndarray(tensor["shape"], _LITTLE_ENDIAN[tensor["dtype"]], payload, tensor["offset"])
        for tensor in tensors
    }
