"""Operators' transforms are found by name, checked when a plan is made, and held to what they declare."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace_proto.transforms import CenterCrop, Custom, Normalize, Resize, Transform
from headrace_server.draws import Draws
from headrace_server.errors import ConfigurationError
from headrace_server.transforms.base import PlanError, TransformError
from headrace_server.transforms.custom import CustomTransforms
from headrace_server.transforms.pipeline import Pipeline, compile_pipeline

OPERATORS_CODE = '''
import numpy as np
from headrace_server.transforms.custom import transform


@transform(version=3)
def fade(image, labels, rng, *, level=128, channels=(0, 1, 2), where=None):
    """Paints channels over in one gray.

    More about it.
    """
    image[:, :, list(channels)] = level
    return image


@transform(version="2024-05", output_shape=lambda height, width, channels, *, factor: (
    height and height * factor, width and width * factor, channels))
def enlarge(image, labels, rng, factor):
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


@transform(version=1, output_shape=lambda height, width, channels, side: (side, side, channels))
def corner(image, labels, rng, side=2):
    return image[:side, :side]


@transform(version=1, output_shape=lambda height, width, channels, **options: (4, 6, 1))
def noise(image, labels, rng, **options):
    return (rng.array((4, 6, 1)) * 256).astype(np.uint8)


@transform(version=1)
def by_label(image, labels, rng):
    image[:] = labels["label"]
    return image


@transform(version=1)
def faulty(image, labels, rng, result="an exception"):
    return {
        "a float": image / 1.0, "a crop": image[1:], "gray": image[:, :, 0], "nothing": None, "a list": image.tolist(),
    }[result]


@transform(version=1)
def meddler(image, labels, rng):
    labels["label"] = 0
    return image


@transform(version=1)
def greedy(image, labels, rng, options=[]):
    options.append(1)
    image[:] = len(options)
    return image


@transform(version=1, output_shape=lambda height, width, channels: (height, width, channels * 1000))
def absurd(image, labels, rng):
    return image


def plain(image, labels, rng):
    return image[::-1]


plain.version = 7


class Callable:
    version = 1

    def __call__(self, image, labels, rng, *, level):
        return np.full_like(image, level)


an_object = Callable()


def without_version(image, labels, rng):
    return image


@transform(version=True)
def with_a_flag_for_version(image, labels, rng):
    return image


@transform(version=1)
def with_two_parameters(image, labels):
    return image


@transform(version=1)
def with_a_name(image, labels, rng, *, name):
    return image


not_a_function = 3
'''
NAMES = (
    "fade",
    "enlarge",
    "corner",
    "noise",
    "by_label",
    "faulty",
    "meddler",
    "greedy",
    "absurd",
    "plain",
    "an_object",
)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of an operator's, on the path."""
    (tmp_path / "operators_code.py").write_text(OPERATORS_CODE)
    (tmp_path / "broken_code.py").write_text("import no_such_module_anywhere\n")
    (tmp_path / "failing_code.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("operators_code", "broken_code", "failing_code"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "operators_code"


@pytest.fixture
def custom(module: str) -> CustomTransforms:
    return CustomTransforms.load({name: f"{module}:{name}" for name in NAMES})


def compiled(custom: CustomTransforms, *transforms: Transform) -> Pipeline:
    return compile_pipeline(transforms, dtype=None, layout="NHWC", custom=custom)


def run(
    custom: CustomTransforms, *transforms: Transform, labels: Mapping[str, Any] | None = None, sample: int = 0
) -> NDArray[Any]:
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    before = image.copy()
    pipeline = compiled(custom, CenterCrop((5, 7)), *transforms)
    slot = np.zeros(pipeline.output.shape, pipeline.output.dtype)
    pipeline.apply(image, labels or {}, 1, 2, sample, slot)
    np.testing.assert_array_equal(image, before)
    return slot


def test_a_function_is_given_a_copy_to_change_and_its_options(custom: CustomTransforms) -> None:
    result = run(custom, Custom("fade", level=9, channels=[1]))
    assert (result[:, :, 1] == 9).all()
    np.testing.assert_array_equal(result[:, :, 0], np.arange(0, 105, 3).reshape(5, 7))


def test_a_plain_function_or_a_callable_object_with_a_version_will_do(custom: CustomTransforms) -> None:
    np.testing.assert_array_equal(run(custom, Custom("plain")), run(custom)[::-1])
    assert (run(custom, Custom("an_object", level=5)) == 5).all()


def test_the_declared_shape_is_the_outputs(custom: CustomTransforms) -> None:
    assert run(custom, Custom("enlarge", factor=3)).shape == (15, 21, 3)
    assert run(custom, Custom("corner")).shape == (2, 2, 3)
    assert run(custom, Custom("corner", side=3)).shape == (3, 3, 3)
    assert compiled(custom, Custom("noise")).output.shape == (4, 6, 1)
    assert compiled(custom, Resize(9), Custom("enlarge", factor=2), CenterCrop(8)).output.shape == (8, 8, 3)
    with pytest.raises(PlanError, match="add CenterCrop"):
        compiled(custom, Resize(9), Custom("enlarge", factor=2))


def test_draws_depend_on_the_samples_address_and_the_place_in_the_plan(custom: CustomTransforms) -> None:
    first = run(custom, Custom("noise"), sample=5)
    np.testing.assert_array_equal(first[:, :, 0], (Draws(1, 2, 5, 1).array((4, 6)) * 256).astype(np.uint8))
    assert not np.array_equal(first, run(custom, Custom("noise"), sample=6))


def test_labels_can_be_read_but_not_changed(custom: CustomTransforms) -> None:
    labels = {"label": 42}
    assert (run(custom, Custom("by_label"), labels=labels) == 42).all()
    with pytest.raises(TransformError, match="'meddler' failed: TypeError"):
        run(custom, Custom("meddler"), labels=labels)
    assert labels == {"label": 42}


def test_options_that_a_function_changes_are_fresh_for_the_next_sample(custom: CustomTransforms) -> None:
    pipeline = compiled(custom, CenterCrop(2), Custom("greedy", options=[7, 7]))
    slot = np.zeros((2, 2, 3), np.uint8)
    for sample in range(3):
        pipeline.apply(np.zeros((2, 2, 3), np.uint8), {}, 0, 0, sample, slot)
        assert (slot == 3).all()


@pytest.mark.parametrize(
    ("result", "found"),
    [
        ("a float", r"float64 and shape \(5, 7, 3\)"),
        ("a crop", r"uint8 and shape \(4, 7, 3\)"),
        ("gray", r"uint8 and shape \(5, 7\)"),
        ("nothing", "a NoneType"),
        ("a list", "a list"),
    ],
)
def test_a_result_other_than_declared_says_what_was_found_and_expected(
    custom: CustomTransforms, result: str, found: str
) -> None:
    with pytest.raises(TransformError, match=rf"'faulty' returned .*{found}, expected .* \(5, 7, 3\)"):
        run(custom, Custom("faulty", result=result))


def test_an_exception_in_operators_code_is_named_and_kept_as_the_cause(custom: CustomTransforms) -> None:
    with pytest.raises(TransformError, match="transform 'faulty' failed: KeyError: 'an exception'") as caught:
        run(custom, Custom("faulty"))
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_absurd_declared_shape_is_an_error_of_the_plan(custom: CustomTransforms) -> None:
    with pytest.raises(PlanError, match=r"absurd: its output_shape failed: .*found \(None, None, 3000\)"):
        compiled(custom, Custom("absurd"), CenterCrop(4))
    with pytest.raises(PlanError, match="enlarge: its output_shape failed: TypeError"):
        compiled(custom, CenterCrop(4), Custom("enlarge", factor="x"), CenterCrop(4))


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (Custom("fade", colour=1), "fade has no option 'colour'; its options are level, channels, where"),
        (Custom("by_label", colour=1), "by_label has no option 'colour'; it has no options"),
        (Custom("enlarge"), "enlarge needs the option 'factor'; its options are factor"),
        (Custom("blurr"), "no transform 'blurr'; there are Resize, .*Normalize, absurd, an_object, by_label, corner,"),
    ],
)
def test_wrong_options_and_names_are_found_when_the_plan_is_made(
    custom: CustomTransforms, transform: Transform, message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        compiled(custom, transform, CenterCrop(4))


def test_a_function_that_takes_any_option_is_given_any(custom: CustomTransforms) -> None:
    assert compiled(custom, Custom("noise", anything=[1])).resolved == [{"name": "noise", "anything": [1]}]


def test_options_at_their_default_are_left_out_so_that_ids_stay(custom: CustomTransforms) -> None:
    pipeline = compiled(custom, Custom("fade", level=128, where="here"), CenterCrop(4), Normalize(0, 1))
    assert pipeline.resolved[0] == {"name": "fade", "where": "here"}
    assert pipeline.versions == [3, 1, 1]
    assert compiled(custom, CenterCrop(4), Custom("enlarge", factor=2)).versions == [1, "2024-05"]


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("Resize", "operators_code:plain", "built-in transform's"),
        ("blur", "operators_code:without_version", "expected a version, .* found None"),
        ("blur", "operators_code:with_a_flag_for_version", "expected a version, .* found True"),
        ("blur", "operators_code:with_two_parameters", r"expected function\(image, labels, rng"),
        ("blur", "operators_code:with_a_name", "no option can be called 'name'"),
        ("blur", "operators_code:not_a_function", "expected a function, found 3"),
        ("blur", "operators_code:missing", "cannot be imported: AttributeError"),
        ("blur", "no_such_module:blur", "cannot be imported: ModuleNotFoundError"),
        ("blur", "broken_code:blur", "no_such_module_anywhere"),
        ("blur", "failing_code:blur", "cannot be imported: ZeroDivisionError"),
        ("blur", "operators_code", 'expected "module:function"'),
        ("blur", ":blur", 'expected "module:function"'),
    ],
)
def test_a_transform_that_cannot_serve_stops_the_server_at_its_start(
    module: str, name: str, target: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        CustomTransforms.load({name: target})
    assert f"transform {name!r} ({target})" in str(caught.value)


def test_installed_packages_add_transforms_by_entry_points(module: str, tmp_path: Path) -> None:
    info = tmp_path / "operators_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: operators-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[headrace.transforms]\npackaged = operators_code:plain\n")
    assert list(CustomTransforms.load({"fade": "operators_code:fade"}).describe()) == ["fade", "packaged"]
    with pytest.raises(ConfigurationError, match="'packaged' is there twice"):
        CustomTransforms.load({"packaged": "operators_code:fade"})


def test_the_description_is_json_data_with_every_option(custom: CustomTransforms) -> None:
    described = custom.describe()
    assert described["fade"] == {
        "description": "Paints channels over in one gray.",
        "version": 3,
        "options": {"level": {"default": 128}, "channels": {"default": (0, 1, 2)}, "where": {"default": None}},
    }
    assert described["enlarge"]["options"] == {"factor": {"required": True}}
    assert set(json.loads(json.dumps(described))) == set(NAMES)
