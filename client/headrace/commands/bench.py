"""`headrace bench`: what this trainer can get."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from headrace.adapters.causes import cause_in
from headrace.commands.base import add_connection, add_plan, counted
from headrace.commands.connection import connected, planned
from headrace.commands.liveline import LiveLine
from headrace.commands.measurement import Figures, measure
from headrace.dataset import Dataset
from headrace.errors import ServiceError, UsageError

_TARGETS = {"numpy": "NumPy arrays", "tf": "TensorFlow", "torch": "PyTorch"}
_ADAPTERS = {"tf": "headrace.adapters.tensorflow", "torch": "headrace.adapters.torch"}

_QUIET_TENSORFLOW = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}
"""The second because TensorFlow announces oneDNN at any level; nothing is computed here that it would speed up."""


class Bench:
    summary = "measure how fast this machine gets batches, and what they cost it"
    examples = """\
  headrace bench http://storage:8000 flowers
  headrace bench http://storage:8000 flowers --split train          where the data have split folders
  headrace bench http://storage:8000 flowers --batch-size 256 --shuffle --to tf
  headrace bench http://storage:8000 flowers --transforms '[{"name": "RandomResizedCrop", "size": 224}]'
  headrace bench http://storage:8000 flowers --json | jq .images_per_second

Ctrl-C ends it early, with the figures so far.
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_connection(parser)
        add_plan(parser)
        parser.add_argument("--batch-size", type=int, default=32, metavar="IMAGES", help="default: 32")
        parser.add_argument("--seconds", type=float, default=10.0, help="after a warm-up of one second (default: 10)")
        parser.add_argument("--to", choices=_TARGETS, default="numpy", help="what the batches become (default: numpy)")
        parser.add_argument("--json", action="store_true", help="the figures as one JSON object, for programs")

    def run(self, arguments: argparse.Namespace) -> int:
        if not arguments.seconds > 0:
            raise UsageError(f"--seconds must be more than 0, found {arguments.seconds:g}")
        _load(arguments.to)
        with connected(arguments) as client:
            asked = time.perf_counter()
            dataset = planned(client, arguments, batch_size=arguments.batch_size)
            if not arguments.json:
                print(_subject(dataset, arguments.to), flush=True)
            figures = _measured(dataset, arguments.to, asked, arguments.seconds)
        if arguments.json:
            print(json.dumps(_as_json(dataset, arguments.to, figures)))
            return 0
        if replaced := dataset.stats().replaced:
            print(f"{counted(replaced)} could not be decoded and others came in place; `headrace show` names them")
        print(_as_text(figures))
        return 0


def _load(target: str) -> None:
    """Imports the framework, which takes seconds, before the clock runs. Raises UsageError if it is missing."""
    for name, value in _QUIET_TENSORFLOW.items():
        os.environ.setdefault(name, value)
    if target in _ADAPTERS:
        importlib.import_module(_ADAPTERS[target])


def _measured(dataset: Dataset, target: str, asked: float, seconds: float) -> Figures:
    line = LiveLine(sys.stderr)
    try:
        with contextlib.closing(_batches(dataset, target)) as batches:
            return measure(batches, dataset.stats, asked, seconds, lambda figures: line.show(_live(figures, seconds)))
    finally:
        line.clear()


def _batches(dataset: Dataset, target: str) -> Any:
    """A generator of batches without end, epoch after epoch, as a training loop would take them."""
    return {"numpy": _numpy, "tf": _tensorflow, "torch": _torch}[target](dataset)


def _numpy(dataset: Dataset) -> Iterator[object]:
    yield from dataset.batches(forever=True)


def _tensorflow(dataset: Dataset) -> Iterator[object]:
    import tensorflow as tf

    try:
        yield from dataset.to_tf(repeat=True)
    except tf.errors.OpError as error:
        raise ServiceError(cause_in(error.message)) from error


def _torch(dataset: Dataset) -> Iterator[object]:
    import torch.utils.data

    loader = torch.utils.data.DataLoader(dataset.to_torch(), batch_size=None)
    while True:
        yield from loader


def _subject(dataset: Dataset, target: str) -> str:
    image = next(output for output in dataset.outputs if output.name == "image")
    shape = " x ".join(str(side) for side in image.shape)
    return (
        f"{dataset.info.dataset}/{dataset.info.split}: {counted(dataset.samples)}, each {shape} {image.dtype}; "
        f"batches of {dataset.sharding.batch_size} as {_TARGETS[target]}"
    )


def _live(figures: Figures | None, seconds: float) -> str:
    if figures is None:
        return "warming up"
    rate = f"{figures.images_per_second:,.0f} images/s   {figures.megabytes_per_second:,.1f} MB/s"
    return f"{figures.seconds:.1f} of {seconds:g} s   {rate}"


def _as_text(figures: Figures) -> str:
    rates = f"{figures.images_per_second:,.0f} images/s, {figures.megabytes_per_second:,.1f} MB/s"
    cost = f"{figures.cpu_us_per_image:,.0f} us of trainer CPU per image"
    return f"{rates}, {cost}, first batch after {figures.first_batch_ms:,.0f} ms"


def _as_json(dataset: Dataset, target: str, figures: Figures) -> dict[str, Any]:
    return {
        "dataset": dataset.info.dataset,
        "split": dataset.info.split,
        "batch_size": dataset.sharding.batch_size,
        "to": target,
        "seconds": round(figures.seconds, 3),
        "batches": figures.batches,
        "images": figures.images,
        "replaced": dataset.stats().replaced,
        "images_per_second": round(figures.images_per_second, 1),
        "megabytes_per_second": round(figures.megabytes_per_second, 3),
        "trainer_cpu_us_per_image": round(figures.cpu_us_per_image, 2),
        "first_batch_ms": round(figures.first_batch_ms, 2),
    }
