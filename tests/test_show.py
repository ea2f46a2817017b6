"""`headrace show`: what is on the contact sheet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from harness import ServerProcess, run_headrace
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import headrace
from headrace.commands.lettering import shortened
from headrace.commands.pixels import Pixels, visible
from headrace.commands.sheet import Layout, draw

SIZES = [(8, 8), (1, 1), (3, 300), (224, 224), (1000, 10), (95, 40), (96, 96), (600, 800)]


def noise(*shape: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def region(sheet: Image.Image, layout: Layout, number: int) -> Pixels:
    """The pixels of an image on a sheet."""
    left, top = layout.place(number)
    left += max(0, 96 - layout.image[0]) // 2
    return np.asarray(sheet.crop((left, top, left + layout.image[0], top + layout.image[1])))


class TestVisible:
    def test_uint8_stays_as_it_is(self) -> None:
        images = noise(2, 5, 7, 3)
        np.testing.assert_array_equal(visible(images, {"transforms": []}), images)

    def test_channels_first_are_put_last(self) -> None:
        images = noise(2, 5, 7, 3)
        seen = visible(images.transpose(0, 3, 1, 2), {"transforms": [], "layout": "NCHW"})
        np.testing.assert_array_equal(seen, images)

    def test_floats_without_normalize_are_values_from_0_to_255(self) -> None:
        images = noise(2, 5, 7, 1)
        np.testing.assert_array_equal(visible(images.astype(np.float16), {"transforms": []}), images)

    @pytest.mark.parametrize(
        ("mean", "std"), [(0.5, 0.25), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), ([0.5], [0.1])]
    )
    @pytest.mark.parametrize(("dtype", "off"), [(np.float32, 0), (np.float16, 1)])
    def test_normalize_is_undone(self, mean: object, std: object, dtype: type, off: int) -> None:
        images = noise(2, 5, 7, 3)
        normalized = ((images / 255 - np.asarray(mean)) / np.asarray(std)).astype(dtype)
        plan = {"transforms": [{"name": "Resize"}, {"name": "Normalize", "mean": mean, "std": std}]}
        assert np.abs(visible(normalized, plan).astype(int) - images).max() <= off

    def test_values_out_of_range_become_black_and_white(self) -> None:
        images = np.array([-300.0, 700.0], np.float32).reshape(1, 1, 2, 1)
        assert visible(images, {"transforms": []}).ravel().tolist() == [0, 255]


class TestSheet:
    @pytest.mark.parametrize("count", [1, 2, 7, 32])
    @pytest.mark.parametrize(("height", "width"), SIZES)
    def test_no_image_leaves_the_sheet_or_covers_another(self, height: int, width: int, count: int) -> None:
        layout = Layout.of(count, height, width)
        corners = [layout.place(number) for number in range(count)]
        assert len(set(corners)) == count
        for left, top in corners:
            assert left + layout.cell[0] <= layout.size[0]
            assert top + layout.image[1] <= layout.size[1]
        assert layout.image[0] < layout.cell[0]
        assert layout.image[1] < layout.cell[1]

    def test_small_images_are_enlarged_with_square_pixels(self) -> None:
        images = noise(3, 8, 8, 3)
        sheet = draw(images, ["a", "b", "c"], "", "")
        layout = Layout.of(3, 8, 8)
        assert layout.image == (96, 96)
        for number, image in enumerate(images):
            np.testing.assert_array_equal(region(sheet, layout, number), image.repeat(12, 0).repeat(12, 1))

    def test_images_of_a_usual_size_are_shown_pixel_by_pixel(self) -> None:
        images = noise(2, 224, 160, 3)
        sheet = draw(images, ["a", "b"], "", "")
        np.testing.assert_array_equal(region(sheet, Layout.of(2, 224, 160), 1), images[1])

    def test_gray_images_are_gray(self) -> None:
        images = noise(1, 100, 120, 1)
        np.testing.assert_array_equal(
            region(draw(images, ["a"], "", ""), Layout.of(1, 100, 120), 0), images.repeat(3, 3)[0]
        )

    def test_large_images_are_reduced(self) -> None:
        assert Layout.of(4, 600, 800).image == (256, 192)

    @pytest.mark.parametrize("label", ["daisy", "a class name " * 30, "", "日本語", "naïve\nclass", "\U0001f33c"])
    def test_any_label_can_be_drawn_below_its_image(self, label: str) -> None:
        """No label reaches into the margins."""
        images = np.full((2, 8, 8, 3), 250, np.uint8)
        sheet = np.asarray(draw(images, [label, label], "", ""))
        layout = Layout.of(2, 8, 8)
        below = sheet[layout.top + 96 :]
        assert (below.min() < 200) == bool(label)
        assert below[:, :20].min() > 200
        assert below[:, layout.place(1)[0] + 100 :].min() > 200


class TestShortened:
    def test_a_long_name_keeps_both_ends(self) -> None:
        assert shortened("golden retriever", lambda part: len(part) <= 12) == "golde...ever"

    @given(st.text(), st.integers(5, 30))
    def test_it_fits_and_stays_as_it_is_where_it_can(self, text: str, room: int) -> None:
        short = shortened(text, lambda part: len(part) <= room)
        assert len(short) <= room
        assert (short == text) == (len(text) <= room)


class TestCommand:
    def test_the_sheet_shows_the_batch_that_a_trainer_gets(self, server: ServerProcess, tmp_path: Path) -> None:
        output = tmp_path / "sheet.png"
        words = ["--split", "train", "--shuffle", "--seed", "3", "--epoch", "2", "--start", "40", "--count", "5"]
        done = run_headrace("show", server.url, "flowers", *words, "-o", str(output))
        assert (done.returncode, done.stderr) == (0, "")
        assert str(output) in done.stdout
        assert "5 images" in done.stdout
        with headrace.connect(server.url) as client:
            train = client.dataset("flowers", split="train", batch_size=5, shuffle=True, seed=3)
            train.set_epoch(2)
            images = [batch["image"] for batch in train][8]
        layout, sheet = Layout.of(5, 16, 16), Image.open(output)
        for number in range(5):
            np.testing.assert_array_equal(region(sheet, layout, number), images[number].repeat(6, 0).repeat(6, 1))

    def test_normalized_planes_look_like_the_plain_images(self, server: ServerProcess, tmp_path: Path) -> None:
        plain, planes = tmp_path / "plain.png", tmp_path / "planes.png"
        resize = '{"name": "Resize", "size": [16, 16]}'
        normalize = '{"name": "Normalize", "mean": [0.5, 0.4, 0.3], "std": 0.2}'
        common = ["show", server.url, "flowers", "--split", "val", "--count", "4"]
        done = run_headrace(*common, "-o", plain)
        assert done.returncode == 0, done.stderr
        words = ["--transforms", f"[{resize}, {normalize}]", "--layout", "NCHW", "-o", str(planes)]
        done = run_headrace(*common, *words)
        assert done.returncode == 0, done.stderr
        layout = Layout.of(4, 16, 16)
        for number in range(4):
            expected, found = (region(Image.open(path), layout, number) for path in (plain, planes))
            np.testing.assert_array_equal(found, expected)

    def test_images_over_the_servers_budget_are_named_and_stop_nothing(
        self, oddities: ServerProcess, tmp_path: Path
    ) -> None:
        """3 of 200 are more than 1%."""
        done = run_headrace("show", oddities.url, "worse", "--count", "200", "-o", tmp_path / "sheet.png")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("cannot be decoded and was replaced by") == 3

    def test_at_the_end_of_the_epoch_there_are_fewer_images(self, server: ServerProcess, tmp_path: Path) -> None:
        words = ["--split", "val", "--start", "10", "-o", str(tmp_path / "end.png")]
        assert ": 3 images," in run_headrace("show", server.url, "flowers", *words).stdout

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--start", "13"], "from 0 to 12"),
            (["--start", "-1"], "from 0 to 12"),
            (["--count", "0"], "from 1 to"),
            (["--epoch", "-1"], "epoch"),
            (["-o", "sheet.txt"], "sheet.txt"),
            (["-o", "."], "picture"),
            (["-o", "no-such-folder/sheet.png"], "cannot write no-such-folder/sheet.png: No such file"),
        ],
    )
    def test_what_cannot_be_drawn_is_refused_in_one_line(
        self, server: ServerProcess, words: list[str], said: str
    ) -> None:
        done = run_headrace("show", server.url, "flowers", "--split", "val", *words)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert said in line

    def test_without_pillow_it_says_what_to_install(self, server: ServerProcess) -> None:
        words = ["show", server.url, "flowers", "--split", "val"]
        code = f"import sys; sys.modules['PIL'] = None; from headrace.cli import main; sys.exit(main({words}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert 'pip install "headrace[show]"' in line
