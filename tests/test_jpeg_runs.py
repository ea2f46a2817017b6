"""What is made of a run's JPEGs together is what is made of them one by one, whatever lies between them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from fuzzing import bombs
from hypothesis import given, settings
from hypothesis import strategies as st
from jpegs import encoded, encoded_variously, smooth, wide
from numpy.typing import NDArray
from PIL import Image

from headrace_proto.transforms import (
    CenterCrop,
    ColorJitter,
    Normalize,
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    Resize,
    Transform,
)
from headrace_server import jpeg_runs
from headrace_server.cache import ImageCache
from headrace_server.catalog import Catalog, Dataset
from headrace_server.decode import Bounds, DecodeError
from headrace_server.jpeg_runs import JpegRuns
from headrace_server.native import JpegTask, address_of, jpegs
from headrace_server.orientation import jpeg_header
from headrace_server.plans import PlanStore, ResolvedPlan
from headrace_server.resample import resize
from headrace_server.samples import SampleMaker
from headrace_server.sources.folder import open_folder
from headrace_server.transforms.custom import CustomTransforms
from headrace_server.transforms.windows import cut_out

pytestmark = pytest.mark.skipif(jpeg_runs.NATIVE is None, reason="not compiled")

BOUNDS = Bounds(pixels=40_000, file_bytes=1_000_000)
PIPELINES: dict[str, tuple[Sequence[Transform], dict[str, Any]]] = {
    "resize": ([Resize((40, 50))], {}),
    "bicubic": ([Resize((40, 50), interpolation="bicubic")], {}),
    "as it is": ([Resize((64, 121))], {}),
    "tall": ([Resize((9, 60))], {}),
    "larger": ([Resize((200, 150))], {}),
    "shorter side": ([Resize(40), CenterCrop(32)], {}),
    "random": ([RandomResizedCrop(32)], {}),
    "random and more": ([RandomResizedCrop(32), RandomFlip(), ColorJitter(0.3)], {}),
    "cut and turned": ([Resize(48), RandomCrop(32), RandomFlip()], {}),
    "random and flipped": ([RandomResizedCrop(32), RandomFlip()], {}),
    "random and upside down": ([RandomResizedCrop(32), RandomFlip(axis="vertical")], {}),
    "flipped both ways": ([Resize((40, 50)), RandomFlip(), RandomFlip(axis="vertical")], {}),
    "flipped again": ([Resize(40), CenterCrop(31), RandomFlip(p=1.0), RandomFlip(p=0.7)], {}),
    "tall and upside down": ([Resize((9, 60)), RandomFlip(axis="vertical"), RandomFlip()], {}),
    "flipped and more": ([RandomResizedCrop(32), RandomFlip(), RandomFlip(axis="vertical"), ColorJitter(0.3)], {}),
    "middle": ([CenterCrop((40, 55))], {}),
    "anywhere": ([RandomCrop((40, 55)), RandomFlip()], {}),
    "anywhere and upside down": ([RandomCrop((40, 55)), RandomFlip(axis="vertical"), RandomFlip()], {}),
    "anywhere and outside": ([RandomCrop((45, 55), padding=6)], {}),
    "larger than most": ([CenterCrop(70)], {}),
    "large": ([Resize((700, 900)), RandomFlip(), CenterCrop(32)], {}),
    "part of what is tall": ([Resize((9, 60)), CenterCrop((5, 20))], {}),
    "part of what is larger": ([Resize((200, 150), interpolation="bicubic"), RandomCrop((64, 1))], {}),
    "part of a window": ([RandomResizedCrop(48), CenterCrop(32), RandomFlip()], {}),
    "all of it": ([Resize((40, 50)), RandomCrop((40, 50))], {}),
    "part that may be outside": ([Resize(40), RandomCrop(36, padding=3)], {}),
    "part as floats": ([Resize(40), CenterCrop((30, 38)), Normalize(0.5, 0.2, "float16")], {"layout": "NCHW"}),
    "flipped floats": ([RandomResizedCrop(32), RandomFlip(), Normalize(0.5, 0.2, "float16")], {"layout": "NCHW"}),
    "floats": ([Resize((40, 50)), Normalize(0.5, 0.2, "float16")], {"layout": "NCHW"}),
    "channels first": ([RandomResizedCrop(32)], {"layout": "NCHW"}),
}
SOMETIMES_OUTSIDE = {"anywhere and outside", "larger than most"}
GOOD = encoded(smooth(64, 121), quality=80)
ORDINARY = [*encoded_variously(), *wide()]


def with_exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(smooth(50, 70), exif=exif)


def without(data: bytes, marker: int) -> bytes:
    """The JPEG without its segments of this kind."""
    kept, position = data[:2], 2
    while data[position + 1] != 0xDA:
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        kept += b"" if data[position + 1] == marker else data[position:end]
        position = end
    return kept + data[position:]


def with_factors(*factors: int) -> bytes:
    """The JPEG with these factors of subsampling, one in each byte, of each component."""
    data = bytearray(GOOD)
    frame = data.index(b"\xff\xc0")
    data[frame + 11 : frame + 20 : 3] = bytes(factors)
    return bytes(data)


def with_segment(marker: int, content: bytes) -> bytes:
    return GOOD[:2] + bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content + GOOD[2:]


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(smooth(50, 70)).save(file, "PNG")
    return file.getvalue()


ODD = {
    "progressive": encoded(smooth(61, 77), quality=85, progressive=True),
    "a rare subsampling": with_factors(0x24, 0x21, 0x22),
    "a piece of a profile that is none": with_segment(0xE2, b"ICC_PROFILE\0\1\1"),
    "a profile of which a piece is missing": with_segment(0xE2, b"ICC_PROFILE\0\1\2of two"),
    "turned": with_exif(6),
    "four colours": encoded(smooth(50, 70), "CMYK"),
    "no JPEG": png(),
    "empty": b"",
    "cut off": GOOD[: len(GOOD) // 2],
    "cut off in the headers": GOOD[:100],
    "bytes too many in the scan": GOOD[:-2] + bytes(50) + GOOD[-2:],
    "no table of values": without(GOOD, 0xDB),
    "too large": encoded(smooth(300, 300)),
    "to be decoded smaller": encoded(smooth(180, 200)),
    "many scans": bombs.many_scans(64, 500),
    "many Exifs": bombs.many_exifs(3),
}
"""What must be left, or is, to those who look closer; the last but two only where it is made much smaller."""
FILES = [*ORDINARY, with_exif(1), with_segment(0xE2, b"ICC_PROFILE\0\1\1of one"), without(GOOD, 0xC4), *ODD.values()]


def plan_of(folder: Path, name: str) -> ResolvedPlan:
    transforms, options = PIPELINES[name]
    fields = {"dataset": "d", "transforms": [transform.to_json() for transform in transforms], **options}
    return PlanStore(Catalog([Dataset(open_folder(folder, name="d"), (), "raise", 0)]), CustomTransforms({})).add(
        fields
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many files as there are in FILES; what is in them is not looked at."""
    folder = tmp_path_factory.mktemp("files")
    for number in range(len(FILES)):
        (folder / f"{number:03}.jpg").write_bytes(b"a file")
    return folder


def slots(plan: ResolvedPlan, count: int) -> NDArray[Any]:
    output = plan.pipeline.output
    return np.zeros((count, *output.shape), output.dtype)


def together(maker: SampleMaker, files: dict[int, bytes]) -> tuple[NDArray[Any], set[int]]:
    """The images, and the rows of those that were made; the others are zeros."""
    assert jpeg_runs.NATIVE is not None
    images, left = slots(maker.plan, len(FILES)), set()
    seen: list[int] = []
    for cuts in JpegRuns(jpeg_runs.NATIVE, maker, np.arange(len(FILES)), images).cut(files):
        seen += cuts
        for row, cut in cuts.items():
            if cut is None:
                left.add(row)
            else:
                maker.finish_cut(row, cut, images[row])
    in_place = maker.plan.pipeline.ends_with_cut
    assert seen == [row for row in files if row in left or not in_place]
    return images, {*files} - left


def one_by_one(maker: SampleMaker, sample: int, data: bytes) -> NDArray[Any]:
    out = slots(maker.plan, 1)[0]
    maker._fill(sample, data, out)
    return out


@given(st.lists(st.sampled_from(range(len(FILES))), min_size=1, max_size=12, unique=True), st.integers(0, 3), st.data())
@settings(max_examples=250, deadline=None)
def test_it_is_what_is_made_one_by_one(folder: Path, rows: list[int], epoch: int, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(PIPELINES)))
    plan = plan_of(folder, name)
    maker = SampleMaker(plan, epoch, BOUNDS, ImageCache(0))
    assert maker.can_cut
    images, made = together(maker, {row: FILES[row] for row in rows})
    assert name in SOMETIMES_OUTSIDE or made >= {row for row in rows if row < len(ORDINARY)}
    for row in made:
        np.testing.assert_array_equal(images[row], one_by_one(maker, row, FILES[row]))


@pytest.mark.parametrize("kind", [kind for kind in ODD if kind != "to be decoded smaller"])
def test_what_is_odd_is_left(folder: Path, kind: str) -> None:
    maker = SampleMaker(plan_of(folder, "resize"), 0, BOUNDS, ImageCache(0))
    assert together(maker, {0: GOOD, 1: ODD[kind], 2: GOOD})[1] == {0, 2}


def test_what_can_be_decoded_smaller_is_left(folder: Path) -> None:
    maker = SampleMaker(plan_of(folder, "random"), 0, BOUNDS, ImageCache(0))
    data = ODD["to be decoded smaller"]
    rows = range(len(FILES))
    small = [row for row in rows if maker._decoded(row, data).factor > 1]
    assert 0 < len(small) < len(rows)
    assert together(maker, dict.fromkeys(rows, data))[1] == {*rows} - {*small}


def test_a_table_of_one_file_is_not_anothers(folder: Path) -> None:
    """Files may do without tables, and a decoder that went on with those of the last file would make something else."""
    maker = SampleMaker(plan_of(folder, "resize"), 0, BOUNDS, ImageCache(0))
    own_tables = encoded(smooth(64, 121, seed=9), quality=60, optimize=True)
    bare = without(GOOD, 0xC4)
    images, made = together(maker, {0: own_tables, 1: bare, 2: without(own_tables, 0xDB), 3: own_tables})
    assert made == {0, 1, 3}
    np.testing.assert_array_equal(images[1], one_by_one(maker, 1, bare))
    with pytest.raises(DecodeError):
        one_by_one(maker, 2, without(own_tables, 0xDB))


def test_images_that_wait_for_later_steps_are_few(folder: Path) -> None:
    """However large the first step makes them, and however small the files are."""
    maker = SampleMaker(plan_of(folder, "large"), 0, BOUNDS, ImageCache(0))
    assert jpeg_runs.NATIVE is not None
    runs = JpegRuns(jpeg_runs.NATIVE, maker, np.arange(len(FILES)), slots(maker.plan, len(FILES)))
    groups = [[*cuts] for cuts in runs.cut(dict.fromkeys(range(7), GOOD))]
    assert groups == [[0], [1], [2], [3], [4], [5], [6]]


def test_images_that_are_kept_are_made_one_by_one(folder: Path) -> None:
    assert not SampleMaker(plan_of(folder, "resize"), 0, BOUNDS, ImageCache(1000)).can_cut


@pytest.mark.parametrize(
    "transforms",
    [
        [Resize((40, 50), antialias=False)],
        [Resize((40, 50), interpolation="nearest")],
        [RandomResizedCrop(32, antialias=False)],
        [RandomFlip(), Resize((40, 50))],
    ],
)
def test_other_first_steps_are_left(folder: Path, transforms: list[Transform], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PIPELINES, "other", (transforms, {}))
    maker = SampleMaker(plan_of(folder, "other"), 0, BOUNDS, ImageCache(0))
    assert not maker.can_cut or together(maker, {0: GOOD})[1] == set()


@given(st.sampled_from(FILES), st.integers(0, 2**32), st.integers(0, 6))
@settings(max_examples=400, deadline=None)
def test_a_glance_sees_what_a_closer_look_sees(data: bytes, seed: int, changes: int) -> None:
    dice, changed = np.random.default_rng(seed), bytearray(data)
    for _ in range(changes if data else 0):
        changed[dice.integers(0, min(len(data), 700))] = dice.integers(0, 256)
    assert jpeg_runs.NATIVE is not None
    ((height, width),) = jpeg_runs.NATIVE.look([bytes(changed)])
    if height:
        header = jpeg_header(bytes(changed))
        assert header is not None
        assert (header.height, header.width, header.orientation) == (height, width, 1)
        assert header.components in (1, 3)


def draw_window(data: st.DataObject, height: int, width: int) -> tuple[int, int, int, int]:
    """One that is inside."""
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    return top, left, data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))


@given(st.integers(1, 90), st.integers(1, 200), st.sampled_from(["444", "422", "420", "440", "411", "Gray"]), st.data())
@settings(max_examples=400, deadline=None)
def test_every_window_is_cut_from_the_picture(height: int, width: int, kind: str, data: st.DataObject) -> None:
    file = simplejpeg.encode_jpeg(smooth(height, width), quality=85, colorsubsampling=kind)
    window = draw_window(data, height, width)
    size = window[2:]
    out = np.zeros((*size, 3), np.uint8)
    assert jpeg_runs.NATIVE is not None
    assert jpeg_runs.NATIVE.look([file]) == [(height, width)]
    task = JpegTask(file, height, width, window, size, False, (0, 0, *size), address_of(out))
    assert jpeg_runs.NATIVE.make([task]) == [True]
    np.testing.assert_array_equal(out, cut_out(simplejpeg.decode_jpeg(file, "RGB"), window, 0))


SIDES = st.integers(1, 120)


@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(["444", "420"]), st.booleans(), st.data())
@settings(max_examples=600, deadline=None)
def test_every_part_of_a_resized_window_is_that_of_the_whole(
    height: int, width: int, new_height: int, new_width: int, kind: str, bicubic: bool, data: st.DataObject
) -> None:
    file = simplejpeg.encode_jpeg(smooth(height, width), quality=85, colorsubsampling=kind)
    window, size = draw_window(data, height, width), (new_height, new_width)
    wanted = draw_window(data, *size)
    out = np.zeros((*wanted[2:], 3), np.uint8)
    assert jpeg_runs.NATIVE is not None
    task = JpegTask(file, height, width, window, size, bicubic, wanted, address_of(out))
    assert jpeg_runs.NATIVE.make([task]) == [True]
    part = cut_out(simplejpeg.decode_jpeg(file, "RGB"), window, 0)
    whole = resize(part, size, interpolation="bicubic" if bicubic else "bilinear")
    np.testing.assert_array_equal(out, cut_out(whole, wanted, 0))


@pytest.mark.parametrize("factors", [(0x24, 0x21, 0x22), (0x22, 0x21, 0x11), (0x11, 0x22, 0x11), (0x31, 0x11, 0x11)])
def test_a_rare_subsampling_needs_a_closer_look(factors: tuple[int, ...]) -> None:
    """Of which libjpeg-turbo can decode no part: with the first, it skipped rows for ever."""
    data = with_factors(*factors)
    assert jpeg_runs.NATIVE is not None
    assert jpeg_runs.NATIVE.look([data]) == [(0, 0)]
    assert jpeg_header(data) is not None
    window, out = (0, 0, 4, 4), np.zeros((4, 4, 3), np.uint8)
    assert jpeg_runs.NATIVE.make([JpegTask(data, 64, 121, window, (4, 4), False, window, address_of(out))]) == [False]


def test_most_jpegs_need_but_a_glance() -> None:
    assert jpeg_runs.NATIVE is not None
    profile = with_segment(0xE2, b"ICC_PROFILE\0\1\1of one")
    assert all(height for height, _ in jpeg_runs.NATIVE.look([*ORDINARY, profile]))


def test_a_library_that_lacks_a_function_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpegs, "_FUNCTIONS", (*jpegs._FUNCTIONS[:-1], "jpeg_of_another_library"))
    jpegs._libjpeg.cache_clear()
    try:
        assert jpeg_runs.fastest() is None
        assert jpegs.jpeg_decoder() is None
    finally:
        jpegs._libjpeg.cache_clear()
