"""Small files and frames that ask for much are refused at once, and get nothing of it."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fuzzing import bombs
from fuzzing.bounds import soon, within
from harness import Api, ServerProcess, slice_path, write_dataset
from PIL import ImageFile, PngImagePlugin

from headrace_proto import frame
from headrace_proto.frame import FrameError
from headrace_server.claims import MOST_SCANS
from headrace_server.decode import DecodeError, decode

RESIZE = [{"name": "Resize", "size": [8, 8]}]
GOOD = 20
MOST_PIXELS = 4_000_000
MEMORY_MIB = 2 * MOST_PIXELS * 32 // 2**20
"""What two threads may take that decode the largest images allowed, at 32 bytes a pixel."""


# --- files


@pytest.mark.parametrize("kind", bombs.CLAIMS)
@pytest.mark.parametrize("size", [(65_500, 65_500), (16_383, 16_383), (16, 65_500)])
def test_a_header_that_claims_more_than_is_allowed_is_refused_by_its_pixels(kind: str, size: tuple[int, int]) -> None:
    data, pixels = bombs.CLAIMS[kind](*size), size[0] * size[1]
    with soon(), pytest.raises(DecodeError, match=f"{pixels:,} pixels, at most {pixels - 1:,} are allowed"):
        decode(data, max_pixels=pixels - 1)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: bombs.many_scans(3000, 5000), "more than 100 scans"),
        (lambda: bombs.many_good_scans(3, 5000), "more than 100 scans"),
        (lambda: bombs.many_sequential_scans(3000, 5000), "more than 100 scans"),
        (lambda: bombs.many_exifs(200_000), "Exif is in more than 100 pieces"),
        (lambda: bombs.many_strips(3000, 5000), "9,000,000 pixels whose strips have 22,500,000,000"),
        (lambda: bombs.large_tile(10_001), r"10001 x 10001 is 100,020,001 pixels, at most 100,000,000"),
        (lambda: bombs.tiff(1, 1, t322=2**31, t323=16), r"2147483648 x 16 is .* pixels"),
    ],
    ids=["scans", "good scans", "sequential scans", "exif in pieces", "strips", "a tile", "a wide tile"],
)
def test_a_file_that_asks_for_much_more_than_its_pixels_is_refused(make: Callable[[], bytes], found: str) -> None:
    data = make()
    with soon(), pytest.raises(DecodeError, match=found):
        decode(data)


def test_as_many_scans_as_are_allowed_are_decoded() -> None:
    ordinary = bombs.many_good_scans(1, 0)
    scans = ordinary.count(b"\xff\xda")
    np.testing.assert_array_equal(decode(bombs.many_good_scans(1, MOST_SCANS - scans)), decode(ordinary))
    with pytest.raises(DecodeError, match="scans"):
        decode(bombs.many_good_scans(1, MOST_SCANS - scans + 1))


def test_scans_are_counted_in_the_first_picture_only_and_not_in_what_only_looks_like_one() -> None:
    jpeg = bombs.many_scans(48, 0)
    comment = b"\xff\xfe" + (2 + 2000).to_bytes(2, "big") + b"\xff\xda" * 1000
    for data in (jpeg + jpeg * 200, jpeg[:2] + comment + jpeg[2:], jpeg[:-2] + comment + jpeg[-2:]):
        np.testing.assert_array_equal(decode(data), decode(jpeg))


def test_what_pillow_has_to_say_about_a_hostile_file_is_not_printed() -> None:
    program = "from fuzzing import bombs; from headrace_server.decode import decode; decode(bombs.tiff(1, 1, t277=39))"
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert "DecodeError" in done.stderr
    assert done.stderr.startswith("Traceback")


NO_MEMORY = """
import resource, sys
from fuzzing import bombs
from headrace_server.decode import decode
data = bombs.one_colour(3000)[sys.argv[1]]
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**22,) * 2)
decode(data)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limit on memory")
@pytest.mark.parametrize("kind", ["png", "jpeg", "gif"])
def test_a_lack_of_memory_is_no_fault_of_the_images(kind: str) -> None:
    command = [sys.executable, "-c", NO_MEMORY, kind]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith(("MemoryError", "numpy._core._exceptions._ArrayMemoryError"))


@pytest.mark.parametrize("code", [-8, -9])
def test_neither_is_a_png_that_zlib_has_no_memory_for(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Pillow's own words, for which the machine above must run out at one call among thousands."""

    def load(_: object) -> None:
        raise ImageFile._get_oserror(code, encoder=False)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    with pytest.raises(MemoryError):
        decode(bombs.one_colour(30)["png"])


@pytest.fixture(scope="module")
def minefield(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of good pictures between bombs, under either policy."""
    root = tmp_path_factory.mktemp("minefield")
    write_dataset(root / "mines", {"a": GOOD, "z": GOOD})
    files = {f"claims {kind}": make(60_000, 60_000) for kind, make in bombs.CLAIMS.items()}
    files |= {f"whole {kind}": data for kind, data in bombs.one_colour(6000).items()}
    files |= {"scans": bombs.many_scans(1900, 20_000), "strips": bombs.many_strips(1900, 20_000)}
    files |= {"exifs": bombs.many_exifs(200_000), "tile": bombs.large_tile(14_000)}
    for name, data in files.items():
        (root / "mines" / "m").mkdir(exist_ok=True)
        (root / "mines" / "m" / f"{name}.png").write_bytes(data)
    tables = (f"[datasets.{policy}]\npath = '{root}/mines'\non_error = '{policy}'\n" for policy in ("replace", "raise"))
    (root / "headrace.toml").write_text(f"max_megapixels = {MOST_PIXELS / 1e6}\ndecode_threads = 2\n{''.join(tables)}")
    with ServerProcess("--config", root / "headrace.toml") as server:
        yield server


def test_bombs_of_every_format_are_replaced_within_the_memory_of_two_images(minefield: ServerProcess) -> None:
    with Api(minefield) as api:
        plan = api.plan("replace", transforms=RESIZE)
        with within(MEMORY_MIB, minefield), soon():
            frames = api.frames(plan, count=10)
    replaced = {item["key"]: item for header, _ in frames for item in header.get("replaced", [])}
    assert frames[-1][0]["reason"] == "complete"
    assert len(replaced) == plan["samples"] - 2 * GOOD
    assert all(key.startswith("m/") and not item["by"].startswith("m/") for key, item in replaced.items())
    for key, item in replaced.items():
        if "claims" in key or "whole" in key:
            assert "pixels, at most 4,000,000 are allowed" in item["reason"], key


def test_where_bombs_are_raised_each_is_named_within_the_same_memory(minefield: ServerProcess) -> None:
    with Api(minefield) as api:
        plan = api.plan("raise", transforms=RESIZE)
        assert api.slice(plan, 0, GOOD)
        with within(MEMORY_MIB, minefield):
            for position in range(GOOD, plan["samples"] - GOOD):
                with soon():
                    answer = api.get(slice_path(plan, position, position + 1))
                assert (answer.status_code, answer.json()["code"]) == (500, "sample-undecodable")
        assert api.slice(plan, plan["samples"] - GOOD, plan["samples"])


# --- frames


def test_lists_in_lists_that_lie_about_their_lengths_take_little() -> None:
    header = b"\xdd\x00\x0f\xff\xff" * 900  # each says that it has 2^20 - 1 elements, for which there would be room
    tracemalloc.start()
    try:
        with pytest.raises(FrameError):
            frame.parse_header(header)
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


def test_millions_of_little_lists_take_no_more_than_the_bound() -> None:
    """An empty list has one byte in a header, and 64 in memory."""
    tens = b"\x9a" + b"\x90" * 10
    header = b"\x81\xa1x\xdd\x00\x0f\xff\xff" + tens * (2**20 - 1)
    assert len(header) < frame.MAX_HEADER
    tracemalloc.start()
    try:
        with pytest.raises(FrameError, match="more than 4194304 elements"):
            frame.parse_header(header)
        assert tracemalloc.get_traced_memory()[1] < 256 * 2**20
    finally:
        tracemalloc.stop()
