"""Plans as a server takes them, and the answers to them as a client does."""

from __future__ import annotations

import contextlib
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import golden
import numpy as np
from harness import write_image

from fuzzing.mutations import mutated, mutated_json
from fuzzing.runner import Target
from headrace.batch import columns_of
from headrace_proto import arrays, messages
from headrace_proto.frame import FrameError
from headrace_proto.plan import Output, PlanInfo
from headrace_server.catalog import Catalog, open_dataset
from headrace_server.decode import DecodeError
from headrace_server.plans import PlanStore, ResolvedPlan
from headrace_server.problems import Problem
from headrace_server.settings import DatasetSettings
from headrace_server.transforms.custom import CustomTransforms, transform

_MOST_MIB = 64
_MOST_BYTES = 2**20
"""What is tried out on a picture has at most so many in the end, and sides in between of at most `_MOST_SIDE`."""
_MOST_SIDE = 600
_PLANS: tuple[dict[str, Any], ...] = (
    {"dataset": "flowers"},
    {"dataset": "flowers", "split": "train", "shuffle": True, "seed": 7, "dtype": "float32", "layout": "NCHW"},
    {"dataset": "flowers", "transforms": [{"name": "Resize", "size": 256}, {"name": "CenterCrop", "size": [224, 220]}]},
    {
        "dataset": "flowers",
        "dtype": "float16",
        "transforms": [
            {"name": "RandomResizedCrop", "size": [9, 8], "scale": [0.1, 1.0], "ratio": [0.5, 2]},
            {"name": "RandomFlip", "p": 0.25, "axis": "vertical"},
            {"name": "ColorJitter", "brightness": 0.5, "contrast": [0.5, 1.5], "saturation": 1, "hue": [-0.1, 0.2]},
        ],
    },
    {
        "dataset": "flowers",
        "transforms": [
            {"name": "RandomRotation", "degrees": [-20, 30], "fill": 9},
            {"name": "RandomCrop", "size": 8, "padding": [2, 3], "fill": 255},
            {"name": "Grayscale", "channels": 3},
            {"name": "kept", "strength": 3, "options": {"a": [1, 2.5, None, "b"]}},
            {"name": "Resize", "size": [7, 5], "antialias": False, "interpolation": "bicubic"},
            {"name": "Normalize", "mean": [0.5, 0.4, 0.3], "std": 0.25, "dtype": "float16"},
        ],
    },
)
_ANSWER = PlanInfo(
    id="0" * 32,
    engine="engine-1",
    dataset="flowers",
    split="train",
    samples=90,
    outputs=(*golden.OUTPUTS, Output("weight", "float32", (3, 2)), Output("name", "str", ())),
    plan=_PLANS[1],
    fingerprint="f" * 32,
    classes=("daisy", "rose"),
    replace_budget=0.01,
)


def _lies() -> Iterator[bytes]:
    """Answers with columns that no array can be."""
    for shape in ([1] * 70, [2**62] * 3000, [0, 2**62, 2**62]):
        yield json.dumps({**_ANSWER.to_json(), "outputs": [{"name": "x", "dtype": "uint8", "shape": shape}]}).encode()


@transform(version=1)
def kept(image: Any, labels: Any, rng: Any, *, strength: int = 1, options: Any = None) -> Any:
    """An operator's transform, which changes nothing."""
    return image


@contextlib.contextmanager
def target() -> Iterator[Target]:
    texts = [json.dumps(each) for each in (*_PLANS, _ANSWER.to_json(), _ANSWER.to_json())]
    seeds = [text.encode() for text in texts]

    def make(dice: random.Random) -> bytes:
        data = mutated(dice, seeds) if dice.random() < 0.15 else mutated_json(dice, texts)
        return mutated(dice, [data]) if dice.random() < 0.1 else data

    with tempfile.TemporaryDirectory(prefix="headrace-fuzzing-") as folder:
        store = _store(Path(folder))
        yield Target(make, lambda data: run(store, data), _MOST_MIB, first=(*seeds, *_lies()))


def _store(folder: Path) -> PlanStore:
    for name in ("a/1.png", "b/2.png"):
        write_image(folder / "train" / name, 1)
    custom = CustomTransforms.load({"kept": f"{__name__}:kept"})
    settings = DatasetSettings(
        path=folder,
        transforms=[{"name": "Resize", "size": [8, 8]}],
        on_error="raise",
        replace_budget=0,
        fingerprint="names",
    )
    return PlanStore(Catalog([open_dataset("flowers", settings, custom, lambda name, files: None)]), custom)


def run(store: PlanStore, data: bytes) -> str:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):  # as the server and the client have it
        return "no JSON"
    return f"{_asked(store, value)} and {_answered(value)}"


def _asked(store: PlanStore, value: Any) -> str:
    """A plan or a refusal; and the plan is one that can be carried out."""
    try:
        resolved = store.add(value)
    except Problem as problem:
        _check_words(problem.detail)
        if problem.status not in (404, 422):
            raise
        return "refused"
    assert store.add(json.loads(json.dumps(resolved.info.plan))).info == resolved.info
    assert PlanInfo.from_json(json.loads(json.dumps(resolved.info.to_json()))) == resolved.info
    if resolved.batch_bytes(1) <= _MOST_BYTES and _is_small(resolved.info.plan["transforms"]):
        _try_out(resolved)
        return "carried out"
    return "taken"


def _is_small(transforms: Any) -> bool:
    sizes = [size for each in transforms for size in np.atleast_1d(each.get("size", 1))]
    return max(sizes, default=0) <= _MOST_SIDE and len(transforms) < 50


def _try_out(resolved: ResolvedPlan) -> None:
    output = resolved.info.outputs[0]
    image = np.arange(13 * 11 * 3, dtype=np.uint8).reshape(13, 11, 3)
    with contextlib.suppress(DecodeError):  # it may be too thin for what is asked
        resolved.pipeline.apply(image, {}, resolved.seed, 2**40, 1, np.zeros(output.shape, output.dtype))


def _answered(value: Any) -> str:
    """An answer to a plan, and a batch of the columns that it names."""
    try:
        info = PlanInfo.from_json(value)
    except ValueError as error:
        _check_words(str(error))
        return "no answer"
    assert PlanInfo.from_json(json.loads(json.dumps(info.to_json()))) == info
    try:
        tensors, nbytes = arrays.describe(info.outputs, 2)
    except FrameError as error:
        _check_words(str(error))
        return "no batch"
    strings = {output.name: ["a", "b"] for output in arrays.string_outputs(info.outputs)}
    batch = messages.Batch(info.id, info.engine, 0, 0, 2, tensors, strings)
    try:
        messages.check_batch(batch, info.outputs, nbytes)
    except FrameError as error:
        _check_words(str(error))
        return "no such columns"
    if nbytes <= _MOST_BYTES:
        columns_of(batch, memoryview(bytearray(nbytes)))
    return "an answer"


def _check_words(error: str) -> None:
    assert "\n" not in error, "an error of several lines"
    assert len(error) < 2000, "an error that nobody reads to its end"
