"""Bad images and missing files, end to end: replaced by rule, or an error that says which; never a wrong picture."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import Api, Frame, ServerProcess, slice_path, stream_path, write_dataset, write_image
from PIL import Image

from headrace_proto import arrays

RESIZE = [{"name": "Resize", "size": [8, 8]}]
GOOD = 24
"""Good images of each of the two classes of the mixed dataset."""
BAD = {
    "cat/empty.png": b"",
    "cat/text.jpg": b"this is no image\n" * 9,
    "cat/zeros.png": bytes(500),
    "dog/heavy.jpg": None,
    "dog/huge.png": None,
    "dog/page.jpg": b"<html><body>404 Not Found</body></html>",
    "dog/truncated.jpg": None,
    "dog/truncated.png": None,
}
"""Files of the mixed dataset that cannot be decoded; those without content here are made from images."""
N = 2 * GOOD + len(BAD)


def write_mixed(root: Path) -> Path:
    write_dataset(root, {"cat": GOOD, "dog": GOOD})
    for key, content in BAD.items():
        write_image(root / key, 1000, (3000, 3000) if "huge" in key else (64, 64))
        if content is not None:
            (root / key).write_bytes(content)
        elif "heavy" in key:  # an image that could be decoded, and a hole behind it
            os.truncate(root / key, 3 * 2**20)
        elif "truncated" in key:
            whole = (root / key).read_bytes()
            (root / key).write_bytes(whole[: len(whole) // 2])
    # Its name lies about its format, and it is good all the same.
    (root / "cat/00000.png").write_bytes(_as_jpeg(root / "cat/00000.png"))
    return root


def _as_jpeg(path: Path) -> bytes:
    jpeg = path.with_suffix(".tmp")
    with Image.open(path) as image:
        image.save(jpeg, "JPEG")
    content = jpeg.read_bytes()
    jpeg.unlink()
    return content


def write_odd_names(root: Path) -> Path:
    """Two names that are written alike: one with a byte that is not UTF-8, and one with a backslash."""
    write_image(root / "a/plain.png", 1)
    (root / "b").mkdir()
    for number, name in enumerate((b"b/\xff.png", b"b/\\xff.png", "b/é.png".encode(), b"b/bad\xfe.png")):
        write_image(root / "a/new.png", 2 + number)
        os.rename(root / "a/new.png", os.path.join(os.fsencode(root), name))
    Path(os.fsdecode(os.path.join(os.fsencode(root), b"b/bad\xfe.png"))).write_bytes(b"bad")
    return root


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bad")
    write_mixed(root / "mixed")
    write_dataset(root / "mortal", {"cat": 12, "dog": 12})
    write_odd_names(root / "odd")
    for number in range(5):
        (root / "hopeless").mkdir(exist_ok=True)
        (root / f"hopeless/{number}.png").write_bytes(b"no image")
    return root


def configuration(folders: Path, file: Path) -> Path:
    """A server of all of them; the mixed one under either policy."""
    lines = [f"transforms = {json.dumps(RESIZE).replace(':', ' =')}", "max_megapixels = 4", "max_file_mb = 2"]
    for name in ("mixed", "mortal", "odd", "hopeless"):
        lines += [f"[datasets.{name}]", f"path = '{folders / name}'"]
    lines += ["[datasets.strict]", f"path = '{folders / 'mixed'}'", "on_error = 'raise'"]
    file.write_text("\n".join(lines))
    return file


@pytest.fixture(scope="module")
def server(folders: Path) -> Iterator[ServerProcess]:
    config = configuration(folders, folders / "headrace.toml")
    with ServerProcess("--config", config, "--read-retries", "1") as running:
        yield running


@pytest.fixture(scope="module")
def api(server: ServerProcess) -> Iterator[Api]:
    with Api(server) as api:
        yield api


def columns_of(frames: list[Frame]) -> list[dict[str, Any]]:
    """The columns of each batch, copied."""
    return [
        {name: view.copy() for name, view in arrays.views(header["tensors"], payload).items()} | header["strings"]
        for header, payload in frames
        if header["kind"] == "batch"
    ]


def samples_of(frames: list[Frame]) -> dict[int, tuple[bytes, int, str]]:
    """By position: the pixels, the label and the key."""
    samples = {}
    for (header, _), columns in zip(frames, columns_of(frames), strict=False):
        for i, key in enumerate(columns["key"]):
            samples[header["start"] + i] = (columns["image"][i].tobytes(), int(columns["label"][i]), key)
    return samples


def replaced_of(frames: list[Frame]) -> dict[int, dict[str, Any]]:
    """By position: what the batches' headers say was replaced."""
    return {item["position"]: item for header, _ in frames for item in header.get("replaced", [])}


def last(frames: list[Frame]) -> dict[str, Any]:
    return frames[-1][0]


# Replaced


def test_what_cannot_be_decoded_is_replaced_by_a_good_sample_with_its_own_label_and_key(
    api: Api, folders: Path
) -> None:
    frames = api.frames(api.plan("mixed"), count=10)
    samples, replaced = samples_of(frames), replaced_of(frames)
    keys = sorted([*BAD, *(f"{name}/{i:05}.png" for name in ("cat", "dog") for i in range(GOOD))])
    assert last(frames)["reason"] == "complete"
    assert sorted(samples) == list(range(N))
    assert {item["key"] for item in replaced.values()} == set(BAD)
    whole = {keys[position]: sample for position, sample in samples.items() if position not in replaced}
    for position, item in replaced.items():
        assert keys[position] == item["key"]
        assert item["by"] not in BAD
        assert samples[position] == whole[item["by"]]
        assert samples[position][2] == item["by"]
        assert item["reason"]
    assert all(sample[2] == keys[position] for position, sample in samples.items() if position not in replaced)
    assert {sample[1] for key, sample in whole.items() if key.startswith("cat")} == {0}
    assert {sample[1] for key, sample in whole.items() if key.startswith("dog")} == {1}


def test_the_reasons_say_what_was_found(api: Api) -> None:
    reasons = {item["key"]: item["reason"] for item in replaced_of(api.frames(api.plan("mixed"), count=N)).values()}
    assert reasons["cat/empty.png"] == "empty, 0 bytes"
    assert "begin with b'this is no i'" in reasons["cat/text.jpg"]
    assert "truncated" in reasons["dog/truncated.jpg"]
    assert reasons["dog/heavy.jpg"] == "the file has 3,145,728 bytes, at most 2,097,152 are read"
    assert "3000 x 3000 is 9,000,000 pixels, at most 4,000,000" in reasons["dog/huge.png"]


def test_a_name_that_lies_about_a_good_images_format_does_no_harm(api: Api) -> None:
    frames = api.frames(api.plan("mixed", transforms=[{"name": "CenterCrop", "size": [24, 32]}]), count=N)
    assert "cat/00000.png" in {key for _, _, key in samples_of(frames).values()}
    assert "cat/00000.png" not in {item["key"] for item in replaced_of(frames).values()}


@pytest.mark.parametrize("query", [{"count": 1}, {"count": 7}, {"count": N}, {"count": 5, "start": 3, "stride": 11}])
def test_the_replacement_depends_on_neither_batch_nor_start(query: dict[str, int], api: Api) -> None:
    plan = api.plan("mixed", shuffle=True, seed=3, transforms=[*RESIZE, {"name": "RandomFlip"}])
    whole = api.frames(plan, epoch=1, count=16)
    parts = api.frames(plan, epoch=1, **query)
    assert len(replaced_of(whole)) == len(BAD)
    assert samples_of(parts).items() <= samples_of(whole).items()
    assert replaced_of(parts) == {
        position: item for position, item in replaced_of(whole).items() if position in samples_of(parts)
    }


def test_another_epoch_or_seed_draws_other_replacements(api: Api) -> None:
    def drawn(seed: int, epoch: int) -> dict[str, str]:
        frames = api.frames(api.plan("mixed", seed=seed), epoch=epoch, count=N)
        return {item["key"]: item["by"] for item in replaced_of(frames).values()}

    assert drawn(0, 0) == drawn(0, 0)
    assert len({str(sorted(drawn(seed, epoch).items())) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_two_servers_replace_alike_and_a_read_that_fails_for_a_while_changes_nothing(
    api: Api, folders: Path, tmp_path: Path
) -> None:
    """The second server's folders are copies; one of its files comes back while a client waits."""
    for name in ("mixed", "mortal", "odd", "hopeless"):
        shutil.copytree(folders / name, tmp_path / name, copy_function=shutil.copyfile)
    config = configuration(tmp_path, tmp_path / "headrace.toml")
    options = ("--read-retries", "100", "--ping-seconds", "0.05")
    with ServerProcess("--config", config, *options) as other, Api(other) as there:
        plan = api.plan("mixed", shuffle=True, seed=4, transforms=[*RESIZE, {"name": "RandomRotation", "degrees": 9}])
        assert there.plan(**plan["plan"]) == plan
        assert there.slice(plan, 0, N, epoch=2) == api.slice(plan, 0, N, epoch=2)
        file, away = tmp_path / "mixed/cat/00003.png", tmp_path / "away"
        file.rename(away)
        received = b""
        with there.stream("GET", stream_path(plan, epoch=1, count=N)) as answer:
            for chunk in answer.iter_raw():
                received += chunk
                if b"ping" in received and away.exists():
                    away.rename(file)
        assert b"ping" in received
        assert received.endswith(api.get(stream_path(plan, epoch=1, count=N)).content)


def test_replaced_samples_are_counted(api: Api) -> None:
    plan = api.plan("mixed")
    before = api.metric("headrace_replaced_total", dataset="mixed")
    api.slice(plan, 0, N)
    assert api.metric("headrace_replaced_total", dataset="mixed") == before + len(BAD)


# Raised


def test_where_the_policy_is_raise_the_stream_ends_in_an_error_frame_naming_the_first_bad_sample(api: Api) -> None:
    plan = api.plan("strict")
    frames = api.frames(plan, count=10)
    first = GOOD  # "cat/empty.png" comes after the good cats
    assert [header["kind"] for header, _ in frames] == ["batch"] * (first // 10) + ["error"]
    error = last(frames)
    assert (error["code"], error["key"], error["retry"]) == ("sample-undecodable", "cat/empty.png", False)
    assert (error["epoch"], error["position"]) == (0, first)
    assert error["message"] == "strict (all): cat/empty.png: decode: empty, 0 bytes"
    assert samples_of(frames) == {
        position: sample
        for position, sample in samples_of(api.frames(api.plan("mixed"), count=10)).items()
        if position < first // 10 * 10
    }


def test_the_position_in_the_error_does_not_depend_on_the_batch_or_on_what_was_decoded_first(api: Api) -> None:
    plan = api.plan("strict", shuffle=True, seed=8)
    errors = [last(api.frames(plan, count=count)) for count in (1, 5, N, N)]
    assert len({(error["position"], error["key"], error["message"]) for error in errors}) == 1


def test_a_slice_with_a_bad_sample_is_500_naming_it_and_one_without_is_served(api: Api) -> None:
    plan = api.plan("strict")
    answer = api.get(slice_path(plan, GOOD - 1, GOOD + 2))
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "retry-after" not in answer.headers
    body = answer.json()
    assert (body["code"], body["key"]) == ("sample-undecodable", "cat/empty.png")
    assert "cat/empty.png" in body["detail"]
    assert api.slice(plan, 0, GOOD)


def test_failures_are_counted_by_their_code(api: Api) -> None:
    plan = api.plan("strict")
    before = api.metric("headrace_failures_total", dataset="strict", code="sample-undecodable")
    assert api.get(slice_path(plan, GOOD, GOOD + 1)).status_code == 500
    assert api.metric("headrace_failures_total", dataset="strict", code="sample-undecodable") == before + 1


def test_where_no_image_is_good_the_stream_says_so_and_that_it_is_of_no_use_to_try_again(api: Api) -> None:
    (error,) = [header for header, _ in api.frames(api.plan("hopeless"), count=2)]
    assert (error["kind"], error["code"], error["retry"]) == ("error", "sample-undecodable", False)
    assert (error["position"], error["key"]) == (0, "0.png")
    assert "none of 64 samples drawn in its place is good" in error["message"]


# Not to be had


def _vanished(file: Path) -> None:
    file.unlink()


def _changed_in_size(file: Path) -> None:
    with file.open("ab") as end:
        end.write(b"more")


def _changed_in_time(file: Path) -> None:
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))


def _made_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (_vanished, "the file is gone"),
        (_changed_in_size, "as it was indexed"),
        (_changed_in_time, "as it was indexed"),
        (_made_a_folder, ""),
    ],
)
def test_a_file_that_is_not_what_was_indexed_is_an_error_worth_another_try_and_never_replaced(
    change: Any, found: str, api: Api, folders: Path, tmp_path: Path
) -> None:
    file, kept = folders / "mortal/cat/00005.png", tmp_path / "kept.png"
    plan = api.plan("mortal")
    whole = api.get(stream_path(plan, count=3)).content
    shutil.copy2(file, kept)
    change(file)
    try:
        frames = api.frames(plan, count=3)
        assert [header["kind"] for header, _ in frames] == ["batch", "error"]
        error = last(frames)
        assert (error["code"], error["key"], error["retry"]) == ("sample-unavailable", "cat/00005.png", True)
        assert error["position"] == 5
        assert error["message"].startswith("mortal (all): cat/00005.png: read: ")
        assert found in error["message"]
        refused = api.get(slice_path(plan, 5, 6))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert (refused.json()["code"], refused.json()["key"]) == ("sample-unavailable", "cat/00005.png")
    finally:
        if file.is_dir():
            file.rmdir()
        shutil.copy2(kept, file)
    assert api.get(stream_path(plan, count=3)).content == whole


# Names


def test_a_name_that_is_not_utf8_is_escaped_and_says_so(api: Api, folders: Path) -> None:
    frames = api.frames(api.plan("odd", transforms=[{"name": "CenterCrop", "size": [24, 32]}]), count=10)
    header, _ = frames[0]
    images = columns_of(frames)[0]["image"]
    keys = header["strings"]["key"]
    assert keys[:2] == ["a/plain.png", "b/\\xff.png"]
    root = os.fsencode(folders / "odd")
    raw = sorted([b"a/plain.png", b"b/\\xff.png", b"b/bad\xfe.png", "b/é.png".encode(), b"b/\xff.png"])
    (replaced,) = header["replaced"]
    assert (replaced["position"], replaced["key"]) == (2, "b/bad\\xfe.png")
    assert keys[2] == replaced["by"]
    escaped = [i for i, name in enumerate(raw) if b"\xff" in name]
    assert [i for i in header["escaped"]["key"] if i != 2] == escaped
    for i, name in enumerate(raw):
        if i != 2:
            assert keys[i] == name.decode("utf-8", "backslashreplace")
            with Image.open(os.path.join(root, name)) as image:
                assert np.array_equal(images[i], np.asarray(image))
    assert (2 in header["escaped"]["key"]) == np.array_equal(images[2], images[escaped[0]])


def test_an_error_names_a_sample_whose_name_is_not_utf8(api: Api, folders: Path) -> None:
    name = os.fsdecode(os.path.join(os.fsencode(folders / "odd"), b"b/\xff.png"))
    os.rename(name, name + ".away")
    try:
        error = last(api.frames(api.plan("odd"), count=1))
    finally:
        os.rename(name + ".away", name)
    assert (error["kind"], error["key"], error["retry"]) == ("error", "b/\\xff.png", True)


def test_nothing_of_all_this_was_an_error_of_the_server_itself(server: ServerProcess) -> None:
    """Runs last in this file: the log is for what the operator must mend, and holds no traceback."""
    assert not [line for line in server.errors if "Traceback" in line]
