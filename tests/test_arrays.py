"""Tensors in a payload: where they lie, and what is read from there."""

from __future__ import annotations

from random import Random

import golden
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_proto import arrays
from headrace_proto.frame import FrameError
from headrace_proto.plan import Output

SHAPES = st.lists(st.integers(0, 5), max_size=3).map(tuple)
COLUMNS = st.lists(st.tuples(st.sampled_from((*arrays.TENSOR_DTYPES, arrays.STRING)), SHAPES), max_size=5)
OUTPUTS = COLUMNS.map(lambda columns: [Output(f"c{i}", dtype, shape) for i, (dtype, shape) in enumerate(columns)])
COUNTS = st.integers(1, 5)


@given(OUTPUTS, COUNTS)
def test_tensors_lie_at_multiples_of_64_in_order_and_do_not_overlap(outputs: list[Output], count: int) -> None:
    tensors, length = arrays.describe(outputs, count)
    end = 0
    for tensor in tensors:
        assert tensor["offset"] % 64 == 0
        assert 0 <= tensor["offset"] - end < 64
        assert tensor["shape"][0] == count
        end = tensor["offset"] + tensor["length"]
    assert end == length


@given(OUTPUTS, COUNTS, st.randoms(use_true_random=False))
def test_what_is_written_through_the_views_is_read_through_others(
    outputs: list[Output], count: int, random: Random
) -> None:
    tensors, length = arrays.describe(outputs, count)
    payload = bytearray(length)
    written = {}
    for name, array in arrays.views(tensors, payload).items():
        written[name] = np.frombuffer(random.randbytes(array.nbytes), array.dtype).reshape(array.shape)
        array[...] = written[name]
    read = arrays.views(tensors, bytes(payload))
    assert list(read) == [output.name for output in arrays.tensor_outputs(outputs)]
    for name, array in read.items():
        assert array.tobytes() == written[name].tobytes()


def test_views_share_the_payloads_memory() -> None:
    tensors, length = arrays.describe([Output("x", "int32", (3,))], 2)
    payload = bytearray(length)
    view = arrays.views(tensors, payload)["x"]
    payload[0] = 7
    assert view[0, 0] == 7


def test_views_of_bytes_cannot_be_written() -> None:
    tensors, length = arrays.describe([Output("x", "uint8", ())], 1)
    assert not arrays.views(tensors, bytes(length))["x"].flags.writeable


def test_numbers_are_little_endian_and_in_c_order() -> None:
    tensors, _ = arrays.describe([Output("x", "int32", (2,))], 2)
    payload = bytes([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1])
    assert arrays.views(tensors, payload)["x"].tolist() == [[1, 2**8], [2**16, 2**24]]


def test_the_golden_payload_holds_the_golden_arrays() -> None:
    tensors, length = arrays.describe(golden.OUTPUTS, 2)
    payload = golden.stored("batch")[-length:]
    views = arrays.views(tensors, payload)
    assert views["image"].tolist() == golden.IMAGES.tolist()
    assert views["label"].tolist() == golden.LABELS.tolist()


def test_strings_are_not_tensors() -> None:
    assert [output.name for output in arrays.tensor_outputs(golden.OUTPUTS)] == ["image", "label"]
    assert [output.name for output in arrays.string_outputs(golden.OUTPUTS)] == ["key"]
    assert arrays.describe(arrays.string_outputs(golden.OUTPUTS), 2) == ([], 0)


@pytest.mark.parametrize("dtype", ["object", "O", "complex64", "<U5", "uint9", "datetime64", "V1000000000"])
def test_a_dtype_that_does_not_travel_is_refused_by_name(dtype: str) -> None:
    with pytest.raises(FrameError, match=rf"image: dtype '{dtype}' does not travel; uint8, .* do"):
        arrays.describe([Output("image", dtype, ())], 1)


def test_a_hostile_shape_does_not_overflow() -> None:
    assert arrays.nbytes(Output("x", "float64", (2**62, 2**62)), 2**20) == 8 * 2**20 * 2**124
