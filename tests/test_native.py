"""What is compiled keeps to its memory and gets into the wheel, and its resampling gives Pillow's pixels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpegs import encoded_variously, long
from numpy.typing import NDArray

from headrace_server import jpeg_runs, native, resample
from headrace_server.native import Edges, Resampler, library, loading
from headrace_server.resample import resize_with_pillow

ROOT = Path(__file__).parent.parent
COMPILER = library.compiler()
KERNELS = native.resamplers(tall_down_first=resample.NATIVE is None or resample.NATIVE.tall_down_first)
CHANNELS = st.sampled_from([1, 3])
FILTERS = st.sampled_from(["bilinear", "bicubic"])
SIDES = st.integers(1, 600)

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler")
needs_library = pytest.mark.skipif(not KERNELS, reason="not compiled")


@st.composite
def boxes(draw: st.DrawFn, height: int, width: int) -> Edges:
    """Edges of the whole image, or inside it, whole or fractional, also without any area."""
    left, right = (draw(st.floats(0, width)) for _ in range(2))
    top, bottom = (draw(st.floats(0, height)) for _ in range(2))
    inside = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
    whole = (inside[0] // 1, inside[1] // 1, inside[2] // 1, inside[3] // 1)
    return draw(st.sampled_from([(0, 0, width, height), inside, whole]))


def noise(height: int, width: int, channels: int, *, extreme: bool = False) -> NDArray[np.uint8]:
    """The same for the same size. Extreme, it is black and white, for filters to overshoot."""
    pixels = np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, channels), np.uint8)
    return (pixels // 128 * 255).astype(np.uint8) if extreme else pixels


def resized(
    kernel: Resampler, image: NDArray[np.uint8], size: tuple[int, int], edges: Edges, interpolation: str
) -> NDArray[np.uint8]:
    out = np.full((*size, image.shape[2]), 77, np.uint8)
    kernel(image, size, edges, interpolation, out)
    return out


def check(image: NDArray[np.uint8], size: tuple[int, int], edges: Edges, interpolation: str) -> None:
    expected = resize_with_pillow(image, size, edges, interpolation)
    for kernel in KERNELS:
        np.testing.assert_array_equal(resized(kernel, image, size, edges, interpolation), expected, f"{kernel}")


@needs_compiler
def test_it_was_compiled_on_installing_and_is_used() -> None:
    assert KERNELS, "there is a compiler, but headrace was installed without its library: install it again"
    assert resample.NATIVE is not None
    assert resample.NATIVE.kernel == KERNELS[-1].kernel


@needs_library
@given(st.data(), SIDES, SIDES, SIDES, SIDES, CHANNELS, FILTERS, st.booleans())
@settings(max_examples=300, deadline=None)
def test_every_kernel_gives_pillows_pixels(
    data: st.DataObject,
    height: int,
    width: int,
    new_height: int,
    new_width: int,
    channels: int,
    interpolation: str,
    extreme: bool,
) -> None:
    edges = data.draw(boxes(height, width))
    check(noise(height, width, channels, extreme=extreme), (new_height, new_width), edges, interpolation)


@needs_library
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), CHANNELS, FILTERS)
@settings(max_examples=150, deadline=None)
def test_so_it_is_with_few_pixels(
    height: int, width: int, new_height: int, new_width: int, channels: int, interpolation: str
) -> None:
    check(noise(height, width, channels), (new_height, new_width), (0, 0, width, height), interpolation)


@needs_library
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(1, 30_000), (30_000, 1), (2, 9_999), (9_999, 7), (1, 1), (1500, 2000)])
@pytest.mark.parametrize("size", [(224, 224), (1, 1), (3, 200), (200, 3)])
def test_so_it_is_with_extreme_shapes(
    shape: tuple[int, int], size: tuple[int, int], channels: int, interpolation: str
) -> None:
    check(noise(*shape, channels), size, (0, 0, shape[1], shape[0]), interpolation)


@needs_library
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), CHANNELS, FILTERS)
@settings(max_examples=50, deadline=None)
def test_so_it_is_with_the_number_of_weights_of_any_reduction(
    new_height: int, new_width: int, times: int, channels: int, interpolation: str
) -> None:
    height, width = new_height * times // 2 + 1, new_width * times // 3 + 1
    check(noise(height, width, channels), (new_height, new_width), (0, 0, width, height), interpolation)


@needs_library
@pytest.mark.parametrize("channels", [1, 3])
def test_rows_may_lie_anywhere(channels: int) -> None:
    image = noise(90, 120, 4)[:, :, :channels]
    views = (image, image[:, ::-1], image[::-1], image[::2], image[:, ::3], image[5:50, 7:60], image[3:4, 2:3])
    contiguous = noise(90, 120, channels)
    for view in (*views, contiguous[5:50, 7:60], contiguous[::-1], contiguous[::2], contiguous[:, 40:41]):
        edges = (0, 0, view.shape[1], view.shape[0])
        for kernel in KERNELS:
            expected = resized(kernel, view.copy(), (30, 40), edges, "bilinear")
            np.testing.assert_array_equal(resized(kernel, view, (30, 40), edges, "bilinear"), expected)


@needs_library
@pytest.mark.parametrize(("shape", "tall"), [((151, 80, 3), True), ((150, 80, 3), False), ((40, 400, 3), False)])
def test_only_an_image_that_is_tall_goes_down_first(shape: tuple[int, int, int], tall: bool) -> None:
    image, (height, width), edges = noise(*shape), (50, 30), (0, 0, shape[1], shape[0])
    for kernel in (replace(kernel, tall_down_first=True) for kernel in KERNELS):
        lower = resized(kernel, image, (height, shape[1]), edges, "bicubic")
        down_first = resized(kernel, lower, (height, width), (0, 0, shape[1], height), "bicubic")
        narrower = resized(replace(kernel, tall_down_first=False), image, (shape[0], width), edges, "bicubic")
        across_first = resized(kernel, narrower, (height, width), (0, 0, width, shape[0]), "bicubic")
        assert not np.array_equal(down_first, across_first)
        result = resized(kernel, image, (height, width), edges, "bicubic")
        np.testing.assert_array_equal(result, down_first if tall else across_first)
        always = resized(replace(kernel, tall_down_first=False), image, (height, width), edges, "bicubic")
        np.testing.assert_array_equal(always, across_first)


@needs_library
def test_threads_do_not_disturb_one_another() -> None:
    images = [noise(100 + i, 150 - i, 3) for i in range(16)]

    def made(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return resized(KERNELS[-1], image, (64, 64), (0, 0, image.shape[1], image.shape[0]), "bicubic")

    expected = [made(image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            np.testing.assert_array_equal(list(pool.map(made, images)), expected)


@needs_library
@pytest.mark.parametrize(
    "edges",
    [(-1, 0, 9, 9), (0, 0, 11, 9), (0, 0, 9, 10.5), (5, 0, 4, 9), (float("nan"), 0, 9, 9), (0, 0, float("inf"), 9)],
)
def test_edges_outside_the_image_are_an_error(edges: Edges) -> None:
    with pytest.raises(ValueError, match="cannot resize what lies within"):
        resized(KERNELS[-1], noise(10, 10, 3), (4, 4), edges, "bilinear")


@needs_library
def test_two_channels_are_an_error() -> None:
    with pytest.raises(ValueError, match="cannot resize"):
        resized(KERNELS[-1], noise(10, 10, 2), (4, 4), (0, 0, 10, 10), "bilinear")


@needs_library
@pytest.mark.parametrize(
    "out",
    [
        np.empty((4, 4, 1), np.uint8),
        np.empty((4, 5, 3), np.uint8),
        np.empty((4, 4, 3)),
        np.empty((4, 8, 3), "B")[:, ::2],
    ],
)
def test_an_out_of_another_form_is_an_error(out: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="expected contiguous uint8"):
        KERNELS[-1](noise(10, 10, 3), (4, 4), (0, 0, 10, 10), "bilinear", out)


@pytest.fixture
def loaded_anew() -> Iterator[None]:
    loading.loaded.cache_clear()
    yield
    loading.loaded.cache_clear()


@needs_library
@pytest.mark.usefixtures("loaded_anew")
def test_a_library_of_other_sources_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "sources_digest", lambda: "another")
    with pytest.warns(RuntimeWarning, match="other sources"):
        assert native.resamplers(tall_down_first=True) == []


@pytest.mark.usefixtures("loaded_anew")
def test_a_library_that_cannot_be_loaded_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "native.so").write_bytes(b"\x7fELF of another machine")
    monkeypatch.setattr(loading, "LIBRARY", tmp_path / "native.so")
    with pytest.warns(RuntimeWarning, match="install headrace again"):
        assert native.resamplers(tall_down_first=True) == []


@needs_compiler
def test_it_compiles_without_a_warning(tmp_path: Path) -> None:
    assert COMPILER is not None
    library.compile_library(COMPILER, tmp_path / "native.so", "-Wall", "-Wextra", "-Werror")


def under_sanitizers(name: str, folder: Path, *words: str, sanitizers: str = "address,undefined") -> None:
    """Runs a program of `tests` that sanitizers watch; AddressSanitizer looks for leaks at the end, too."""
    assert COMPILER is not None
    flags = ["-std=c11", "-g", "-O1", "-pthread", f"-fsanitize={sanitizers}", "-fno-sanitize-recover"]
    (folder / "empty.c").write_text("int main(void) { return 0; }")
    if subprocess.run([*COMPILER, *flags, "empty.c", "-o", "empty"], cwd=folder, capture_output=True).returncode:
        pytest.skip("the compiler has no sanitizers")
    command = [*COMPILER, *flags, "-I", str(library.FOLDER), str(ROOT / "tests" / name), "-o", str(folder / "fuzz")]
    subprocess.run(command, check=True)
    subprocess.run([str(folder / "fuzz"), *words], check=True, timeout=120)


@needs_compiler
def test_resizing_keeps_to_its_memory(tmp_path: Path) -> None:
    """Random sizes, in buffers of exactly their size."""
    under_sanitizers("resample_fuzz.c", tmp_path, "3000")


@needs_compiler
def test_decoding_damaged_jpegs_keeps_to_its_memory(tmp_path: Path) -> None:
    files = []
    for number, data in enumerate((*encoded_variously(), *long())):
        files.append(tmp_path / f"{number}.jpg")
        files[-1].write_bytes(data)
    under_sanitizers("eighth_fuzz.c", tmp_path, "12000", *map(str, files))


@needs_compiler
@pytest.mark.skipif(jpeg_runs.NATIVE is None, reason="Pillow's libjpeg cannot be called")
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell what is loaded")
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_making_damaged_jpegs_together_keeps_to_its_memory(tmp_path: Path, sanitizers: str) -> None:
    """By several threads, that hand their decoders on."""
    loaded = Path("/proc/self/maps").read_text().split()
    libjpeg = next(word for word in loaded if Path(word).name.startswith("libjpeg"))
    files = []
    for number, data in enumerate(encoded_variously()):
        files.append(tmp_path / f"{number}.jpg")
        files[-1].write_bytes(data)
    under_sanitizers("jpegs_fuzz.c", tmp_path, libjpeg, "1000", *map(str, files), sanitizers=sanitizers)


@needs_compiler
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_reading_files_keeps_to_its_memory_and_its_lock(tmp_path: Path, sanitizers: str) -> None:
    """Closed at any moment, with some that are not there or of another size."""
    files = []
    for number in range(20):
        files.append(tmp_path / f"{number}.bin")
        files[-1].write_bytes(bytes([number]) * 3001 * number)
    under_sanitizers("reads_stress.c", tmp_path, "100", *map(str, files), sanitizers=sanitizers)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a wheel is built from: the build replaces the library in its tree."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("proto_schemas", "server", "client"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, copy / name)
    return copy


def built(tree: Path, target: Path, environment: dict[str, str]) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=tree, env=environment, check=True, capture_output=True)
    return next(target.glob("*.whl"))


@needs_compiler
def test_a_wheel_built_where_there_is_a_compiler_holds_the_library(tree: Path, tmp_path: Path) -> None:
    wheel = built(tree, tmp_path, dict(os.environ))
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    code = "from headrace_server import jpeg, resample; print(resample.NATIVE.kernel, bool(jpeg.NATIVE))"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    answer = subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert answer.stdout.split() == [str(KERNELS[-1].kernel), "True"]


def test_a_wheel_built_without_a_compiler_is_for_any_platform(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    environment = {**os.environ, "PATH": str(tmp_path / "empty"), "CC": ""}
    wheel = built(tree, tmp_path, environment)
    assert wheel.name.endswith("-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "headrace_server/native/resample.c" in names
    assert not [name for name in names if name.endswith(".so")]
