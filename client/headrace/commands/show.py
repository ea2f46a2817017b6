"""`headrace show`: a contact sheet of a batch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace import state as states
from headrace.batch import Batch
from headrace.commands.base import add_connection, add_plan, counted
from headrace.commands.connection import connected, planned
from headrace.commands.pixels import visible
from headrace.dataset import Dataset
from headrace.errors import UsageError
from headrace.positions import Position
from headrace.state import State
from headrace_proto.plan import DTYPES, LAYOUTS

if TYPE_CHECKING:
    from PIL import Image

_MOST = 1000
"""Images on a sheet; more make a picture that few programs open."""


class Show:
    summary = "draw a batch as the model sees it: a contact sheet with labels"
    examples = """\
  headrace show http://storage:8000 flowers                      writes sheet.png
  headrace show http://storage:8000 flowers --shuffle --count 12 -o dozen.png
  headrace show http://storage:8000 flowers --split val          where the data have split folders
  headrace show http://storage:8000 flowers --epoch 1            the same images, augmented anew
  headrace show http://storage:8000 flowers --transforms '[{"name": "RandomResizedCrop", "size": 224}]'
"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add_connection(parser)
        add_plan(parser)
        parser.add_argument(
            "-o",
            "--output",
            type=Path,
            default=Path("sheet.png"),
            metavar="FILE",
            help="picture to write (default: sheet.png)",
        )
        parser.add_argument("--epoch", type=int, default=0, help="which pass over the data (default: 0)")
        parser.add_argument(
            "--start", type=int, default=0, metavar="POSITION", help="the first image's place in the epoch (default: 0)"
        )
        parser.add_argument("--count", type=int, default=32, help=f"how many images, up to {_MOST:,} (default: 32)")
        parser.add_argument("--dtype", choices=DTYPES, help="of the images (default: what the transforms end in)")
        parser.add_argument("--layout", choices=LAYOUTS, default="NHWC", help="of the images (default: NHWC)")

    def run(self, arguments: argparse.Namespace) -> int:
        if not 1 <= arguments.count <= _MOST:
            raise UsageError(f"--count must be from 1 to {_MOST:,}, found {arguments.count:,}")
        _check_drawable(arguments.output)
        with connected(arguments) as client:
            form = {"dtype": arguments.dtype, "layout": arguments.layout}
            dataset = planned(client, arguments, batch_size=arguments.count, prefetch=1, **form)
            batch = _batch(dataset, arguments.epoch, arguments.start)
        sheet = _sheet(dataset, batch, arguments.epoch, arguments.start)
        _write(sheet, arguments.output)
        print(f"wrote {arguments.output}: {counted(len(batch['image']))}, {sheet.width} x {sheet.height} pixels")
        for entry in batch.replaced:
            print(f"{entry.key} cannot be decoded and was replaced by {entry.by}: {entry.reason}")
        return 0


def _check_drawable(output: Path) -> None:
    """Fails before the server is asked: raises UsageError if Pillow is missing, or knows no format of this name."""
    try:
        from PIL import Image
    except ImportError as error:
        raise UsageError('`headrace show` draws with Pillow, which is missing: pip install "headrace[show]"') from error
    kind = Image.registered_extensions().get(output.suffix.lower(), "")
    if kind not in Image.SAVE:
        raise UsageError(f"--output must be a picture's name, as sheet.png is, found {str(output)!r}")


def _batch(dataset: Dataset, epoch: int, start: int) -> Batch:
    """The images from position `start` of `epoch` on. Raises UsageError if there are none."""
    if not 0 <= start < dataset.samples:
        name = f"{dataset.info.dataset}/{dataset.info.split}"
        raise UsageError(
            f"--start must be from 0 to {dataset.samples - 1:,}, the last image of {name}, found {start:,}"
        )
    if epoch < 0:
        raise UsageError(f"--epoch counts from 0, found {epoch}")
    dataset.load_state_dict(states.save(State(Position(epoch, start)), dataset.info))
    batches = dataset.batches()
    try:
        return next(batches)
    finally:
        batches.close()


def _sheet(dataset: Dataset, batch: Batch, epoch: int, start: int) -> Image.Image:
    from headrace.commands.sheet import draw

    images = visible(batch["image"], dataset.info.plan)
    place = f"epoch {epoch}, positions {start:,} to {start + len(images) - 1:,} of {dataset.samples:,}"
    title = f"{dataset.info.dataset}/{dataset.info.split}: {place}"
    return draw(images, _labels(dataset, batch), title, _note(batch["image"], dataset.info.plan))


def _labels(dataset: Dataset, batch: Batch) -> list[str]:
    """Class names; the files' names where there are no classes."""
    if dataset.classes is None:
        return [str(key).rsplit("/", 1)[-1] for key in batch["key"]]
    return [dataset.classes[label] for label in batch["label"]]


def _note(images: Any, plan: Any) -> str:
    """What the model gets: shape, dtype, and what was done."""
    shape = " x ".join(str(side) for side in images.shape[1:])
    names = ", ".join(str(transform["name"]) for transform in plan["transforms"])
    return f"{shape} {images.dtype}" + (f": {names}" if names else "")


def _write(sheet: Image.Image, output: Path) -> None:
    try:
        sheet.save(output)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError(f"cannot write {output}: {reason}") from error
