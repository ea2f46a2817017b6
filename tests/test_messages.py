"""Messages: golden bytes, parsing, and the checks of a batch against its plan."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import golden
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_proto import frame, messages
from headrace_proto.frame import MAX_ENTRIES, FrameError
from headrace_proto.plan import Output

POSITIONS = st.integers(0, 2**63 - 1)
NAMES = st.text(min_size=1)
MESSAGES = st.one_of(
    st.builds(messages.End, POSITIONS, POSITIONS, NAMES),
    st.builds(messages.Failure, NAMES, NAMES, POSITIONS, POSITIONS, st.none() | st.text(), st.booleans()),
    st.just(messages.Ping()),
)


def parsed(data: bytes) -> messages.Message:
    length = frame.parse_prefix(data[:6])
    return messages.parse(frame.parse_header(data[6 : 6 + length]))


def changed(name: str, **values: Any) -> dict[str, Any]:
    """A golden message's header with some keys changed, as it arrives; a key set to `...` is left out."""
    header = golden.FRAMES[name].message.header() | values
    kept = {key: value for key, value in header.items() if value is not ...}
    return frame.parse_header(msgpack.packb(kept))


@pytest.mark.parametrize("name", golden.FRAMES)
def test_the_bytes_of_every_kind_of_frame_are_what_they_were(name: str) -> None:
    assert golden.FRAMES[name].packed() == golden.stored(name)


@pytest.mark.parametrize("name", golden.FRAMES)
def test_golden_frames_are_read(name: str) -> None:
    assert parsed(golden.stored(name)) == golden.FRAMES[name].message


def test_the_frame_in_the_documentation_is_the_golden_one() -> None:
    page = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text()
    rows = re.findall(r"^[0-9a-f]{8}: ((?:[0-9a-f]{2} ?)+) ", page, re.MULTILINE)
    assert bytes.fromhex("".join(rows)) == golden.stored("batch")


def test_the_header_in_the_documentation_is_the_golden_one() -> None:
    page = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text()
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    assert blocks[-1] == golden.batch().header()


def test_every_golden_file_is_checked() -> None:
    assert {file.stem for file in golden.FOLDER.iterdir()} == set(golden.FRAMES)


@given(MESSAGES)
def test_a_message_comes_back_as_it_was(message: messages.Message) -> None:
    assert parsed(frame.pack_head(message.header())) == message


@given(st.lists(st.text(), min_size=1, max_size=5), POSITIONS, POSITIONS, st.data())
def test_a_batch_comes_back_as_it_was(keys: list[str], epoch: int, start: int, data: st.DataObject) -> None:
    count = len(keys)
    places = st.integers(0, count - 1)
    batch = replace(
        golden.batch(keys),
        epoch=epoch,
        start=start,
        count=count,
        escaped=data.draw(st.dictionaries(NAMES, st.lists(places), max_size=2)),
        replaced=data.draw(
            st.builds(messages.Replaced, places.map(lambda i: start + i), st.text(), st.text(), st.text()).map(
                lambda entry: (entry,)
            )
        ),
    )
    assert parsed(frame.pack_head(batch.header())) == batch


@pytest.mark.parametrize("name", golden.FRAMES)
def test_unknown_keys_are_ignored(name: str) -> None:
    assert messages.parse(changed(name, later={"a": [1, None]})) == golden.FRAMES[name].message


def test_an_unknown_key_within_an_entry_is_ignored() -> None:
    header = changed("batch-full")
    header["tensors"][0]["later"] = header["replaced"][0]["later"] = 1
    assert messages.parse(header) == golden.FRAMES["batch-full"].message


@pytest.mark.parametrize("kind", ["news", "Batch", "", "x" * 10_000, "two\nlines"])
def test_an_unknown_kind_is_refused_in_one_line(kind: str) -> None:
    with pytest.raises(FrameError, match=r"this reader knows the kinds batch, end, error and ping, .*") as caught:
        messages.parse(changed("ping", kind=kind))
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


OPTIONAL = ("escaped", "replaced")
REQUIRED = [
    (name, key)
    for name in ("batch", "end", "error")
    for key in golden.FRAMES[name].message.header()
    if key not in ("protocol", "kind")
]


@pytest.mark.parametrize(("name", "key"), REQUIRED)
def test_a_key_that_is_not_there_is_named(name: str, key: str) -> None:
    with pytest.raises(FrameError, match=f"a {name} frame's header must have the key '{key}'"):
        messages.parse(changed(name, **{key: ...}))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("plan", "", "plan must be a non-empty string, found ''"),
        ("engine", 5, "engine must be a non-empty string, found 5"),
        ("epoch", -1, "epoch must be a whole number from 0 to 9223372036854775807, found -1"),
        ("epoch", True, "epoch must be a whole number"),
        ("start", 2**63, "start must be a whole number"),
        ("start", 1.0, "start must be a whole number"),
        ("count", 0, "count must be a whole number from 1 to 1048576, found 0"),
        ("count", MAX_ENTRIES + 1, "count must be a whole number from 1 to 1048576"),
        ("tensors", {}, "tensors must be a list, found {}"),
        ("tensors", [5], "a tensor must be a map, found 5"),
        ("tensors", [{"name": "image"}], "must have the key 'dtype'"),
        ("strings", [], r"strings must be a map, found \[\]"),
        ("strings", {"key": "ab"}, "the column 'key' must be a list of strings, found 'ab'"),
        ("strings", {"key": [1]}, "the column 'key' must be a list of strings"),
        ("strings", {b"key": []}, "a column's name must be a non-empty string"),
        ("escaped", [1], r"escaped must be a map, found \[1\]"),
        ("escaped", {"key": 1}, "escaped must be a list, found 1"),
        ("escaped", {"key": [2]}, "escaped must be a whole number from 0 to 1, found 2"),
        ("replaced", 5, "replaced must be a list, found 5"),
        ("replaced", [5], "a replaced sample must be a map, found 5"),
        ("replaced", [{}], "must have the key 'position'"),
    ],
)
def test_a_batchs_field_that_is_wrong_is_named_with_what_was_expected(key: str, value: object, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        messages.parse(changed("batch", **{key: value}))


@pytest.mark.parametrize("changes", [{}, {"start": 0}, {"epoch": 3}, {"count": 3}, {"plan": "b"}, {"engine": "other"}])
def test_a_batch_that_is_like_the_one_before_is_read_the_same(changes: dict[str, object]) -> None:
    before = messages.parse(changed("batch"))
    assert isinstance(before, messages.Batch)
    header = changed("batch", replaced=[], escaped={}, **changes)
    alone, after = messages.parse(header), messages.parse(header, before)
    assert after == alone
    assert isinstance(after, messages.Batch)
    assert (after.tensors is before.tensors) == changes.keys().isdisjoint(("count", "plan", "engine"))


@pytest.mark.parametrize(("key", "value"), [("offset", 0.0), ("offset", False), ("shape", [2.0, 4]), ("length", True)])
def test_numbers_that_are_no_integers_are_refused_or_not_taken_over(key: str, value: object) -> None:
    before = messages.parse(changed("batch"))
    assert isinstance(before, messages.Batch)
    tensors = [dict(tensor) for tensor in before.tensors]
    equal = tensors[0][key] == value
    tensors[0][key] = value
    if equal:  # to Python only
        after = messages.parse(changed("batch", tensors=tensors), before)
        assert isinstance(after, messages.Batch)
        assert after.tensors is before.tensors
    else:
        with pytest.raises(FrameError):
            messages.parse(changed("batch", tensors=tensors), before)


def test_a_batch_of_another_count_is_checked_though_its_tensors_are_the_same() -> None:
    before = golden.batch()
    header = changed("batch", count=before.count + 1, replaced=[], escaped={})
    after = messages.parse(header, before)
    assert isinstance(after, messages.Batch)
    with pytest.raises(FrameError, match="the plan gives the tensors"):
        messages.check_batch(after, golden.OUTPUTS, len(golden.payload()), before)


def test_the_payloads_length_is_checked_though_a_batch_is_like_the_one_before() -> None:
    before = golden.batch()
    after = messages.parse(changed("batch"), before)
    assert isinstance(after, messages.Batch)
    messages.check_batch(after, golden.OUTPUTS, len(golden.payload()), before)
    with pytest.raises(FrameError, match="the frame says 1"):
        messages.check_batch(after, golden.OUTPUTS, 1, before)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", 5, "a tensor's name must be a non-empty string, found 5"),
        ("dtype", None, "a tensor's dtype must be a non-empty string, found None"),
        ("shape", 5, "a tensor's shape must be a list, found 5"),
        ("shape", [2, -1], "a tensor's side must be a whole number"),
        ("offset", 0.0, "a tensor's offset must be a whole number"),
        ("length", False, "a tensor's length must be a whole number"),
    ],
)
def test_a_tensors_field_that_is_wrong_is_named(key: str, value: object, message: str) -> None:
    tensor = dict(golden.batch().tensors[0]) | {key: value}
    with pytest.raises(FrameError, match=message):
        messages.parse(changed("batch", tensors=[tensor]))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("position", 63, "position must be a whole number from 64 to 65, found 63"),
        ("position", 66, "position must be a whole number from 64 to 65, found 66"),
        ("key", None, "a replaced sample's key must be a string, found None"),
        ("by", 5, "a replaced sample's by must be a string, found 5"),
        ("reason", [], r"a replaced sample's reason must be a string, found \[\]"),
    ],
)
def test_a_replaced_samples_field_that_is_wrong_is_named(key: str, value: object, message: str) -> None:
    entry = messages.Replaced(65, "a", "b", "c").to_json() | {key: value}
    with pytest.raises(FrameError, match=message):
        messages.parse(changed("batch", replaced=[entry]))


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("end", "next", -1),
        ("end", "reason", ""),
        ("end", "epoch", "0"),
        ("error", "code", None),
        ("error", "message", b"bytes"),
        ("error", "position", None),
        ("error", "key", 5),
        ("error", "retry", 1),
    ],
)
def test_an_end_or_error_with_a_wrong_field_names_it(name: str, key: str, value: object) -> None:
    with pytest.raises(FrameError, match=f"a {name} frame's header is not as it should be: {key} must be"):
        messages.parse(changed(name, **{key: value}))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(sorted({key for _, key in REQUIRED} | set(OPTIONAL)))


@given(st.sampled_from(["batch-full", "end", "error"]), st.dictionaries(KEYS, ANYTHING, max_size=2))
def test_whatever_a_header_holds_only_frame_errors_are_raised(name: str, values: dict[str, Any]) -> None:
    header = frame.parse_header(msgpack.packb(golden.FRAMES[name].message.header() | values))
    shown = ""
    try:
        message = messages.parse(header)
        if isinstance(message, messages.Batch):
            messages.check_batch(message, golden.OUTPUTS, 80)
    except FrameError as error:
        shown = str(error)
    assert "\n" not in shown


def test_a_batch_that_fits_its_plan_passes() -> None:
    messages.check_batch(golden.batch(), golden.OUTPUTS, len(golden.payload()))


@pytest.mark.parametrize("lie", [0, 79, 81, 2**30])
def test_a_payload_length_that_lies_is_refused_with_both_figures(lie: int) -> None:
    with pytest.raises(FrameError, match=f"2 samples of this plan have 80 bytes, the frame says {lie}"):
        messages.check_batch(golden.batch(), golden.OUTPUTS, lie)


@pytest.mark.parametrize(
    ("key", "value"),
    [("offset", 1), ("length", 25), ("shape", [2, 2, 2, 4]), ("shape", [3, 2, 2, 3]), ("dtype", "int8"), ("name", "x")],
)
def test_a_tensor_that_is_not_the_plans_is_refused(key: str, value: object) -> None:
    first, second = golden.batch().tensors
    batch = replace(golden.batch(), tensors=[dict(first) | {key: value}, second])
    with pytest.raises(FrameError, match="the plan gives the tensors"):
        messages.check_batch(batch, golden.OUTPUTS, 80)


@pytest.mark.parametrize("tensors", [[], golden.batch().tensors[:1], golden.batch().tensors[::-1]])
def test_tensors_that_are_missing_or_in_another_order_are_refused(tensors: list[dict[str, Any]]) -> None:
    with pytest.raises(FrameError, match="the plan gives the tensors"):
        messages.check_batch(replace(golden.batch(), tensors=tensors), golden.OUTPUTS, 80)


@pytest.mark.parametrize("strings", [{}, {"key": []}, {"key": ["a"]}, {"key": ["a", "b", "c"]}, {"other": ["a", "b"]}])
def test_a_column_of_strings_without_one_for_each_sample_is_refused(strings: dict[str, list[str]]) -> None:
    with pytest.raises(FrameError, match="the frame has not 2 strings in the column 'key'"):
        messages.check_batch(replace(golden.batch(), strings=strings), golden.OUTPUTS, 80)


def test_a_batch_of_a_hostile_plan_is_refused_without_overflow() -> None:
    outputs = (Output("image", "float64", (2**62, 2**62)),)
    with pytest.raises(FrameError):
        messages.check_batch(golden.batch(), outputs, 0)


def test_a_batch_of_more_samples_than_readers_take_is_not_sent() -> None:
    with pytest.raises(FrameError, match="at most 1048576 samples, found 1048577: ask for a smaller one"):
        replace(golden.batch(), count=MAX_ENTRIES + 1).header()
