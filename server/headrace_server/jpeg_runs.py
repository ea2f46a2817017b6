"""The ordinary JPEGs of a run made together, in C, for which the interpreter's lock is let go of only once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from . import resample
from .native import JpegMaker, JpegTask, jpeg_maker
from .orientation import jpeg_header
from .samples import SampleMaker
from .transforms.base import Image

_MOST_BYTES = 2**21
"""Of images that wait for their later steps."""


@dataclass(frozen=True)
class JpegRuns:
    """For one plan and epoch whose first step takes a window of a picture, and resizes it or leaves it as it is."""

    native: JpegMaker
    maker: SampleMaker
    ids: NDArray[np.int64]
    images: NDArray[Any]
    """The slots; sample `ids[row]` belongs into `images[row]`."""

    def cut(self, files: Mapping[int, bytes]) -> Iterator[dict[int, Image | None]]:
        """The images of these rows' files as the first step leaves them, some at a time; in their slots, if it is all.

        None stands for those that are for SampleMaker alone: what is not a JPEG, in any way out of the ordinary or
        damaged, turned, too large or to be decoded smaller. The others are what SampleMaker would have made of them.
        """
        tasks: dict[int, JpegTask | None] = {}
        nbytes = 0
        for (row, data), size in zip(files.items(), self.native.look([*files.values()]), strict=True):
            task = tasks[row] = self._task(row, data, *(size if size[0] else _size(data)))
            nbytes += 0 if task is None or self._in_place else task.out.nbytes
            del task
            if nbytes > _MOST_BYTES:
                yield self._made(tasks)
                nbytes = 0
        yield self._made(tasks)

    def _made(self, tasks: dict[int, JpegTask | None]) -> dict[int, Image | None]:
        """Empties `tasks`: whoever takes the images is the only one that holds them."""
        rows, wanted = [*tasks], {row: task for row, task in tasks.items() if task is not None}
        tasks.clear()
        made = self.native.make([*wanted.values()]) if wanted else []
        done = {row: task.out for (row, task), is_made in zip(wanted.items(), made, strict=True) if is_made}
        return {row: done.get(row) for row in rows}

    @property
    def _in_place(self) -> bool:
        return self.maker.plan.pipeline.ends_with_cut

    def _task(self, row: int, data: bytes, height: int, width: int) -> JpegTask | None:
        if not 0 < height * width <= self.maker.bounds.pixels:
            return None
        plan = self.maker.plan
        cut = plan.pipeline.cut(height, width, plan.seed, self.maker.epoch, int(self.ids[row]))
        if cut is None:
            return None
        out = self.images[row] if self._in_place else np.empty((*cut.size, 3), np.uint8)
        return JpegTask(data, height, width, cut[:4], cut.interpolation == "bicubic", out)


def _size(data: bytes) -> tuple[int, int]:
    """Height and width of a JPEG that is upright, and needs another look to see it; zeros for all else."""
    header = jpeg_header(data) if data[:3] == b"\xff\xd8\xff" else None
    if header is None or header.orientation != 1 or header.components not in (1, 3):
        return 0, 0
    return header.height, header.width


def equals_decoding(native: JpegMaker) -> bool:
    """Whether a few small pictures come out as they do one by one."""
    values = np.arange(70 * 190 * 3, dtype=np.uint32)
    noise = (values * 2654435761 >> 24).astype(np.uint8).reshape(70, 190, 3)  # Knuth's hash: as good as noise
    kinds = ("420", "422", "440", "444", "411", "Gray")
    files = [simplejpeg.encode_jpeg(noise, quality=90, colorsubsampling=kind) for kind in kinds]
    out = np.empty((len(files), 40, 30, 3), np.uint8)
    tasks = [JpegTask(data, 70, 190, (5, 70, 60, 50), False, image) for data, image in zip(files, out, strict=True)]
    if not all(native.make(tasks)):
        return False
    wanted = [resample.resize(simplejpeg.decode_jpeg(data, "RGB")[5:65, 70:120], (40, 30)) for data in files]
    return np.array_equal(out, np.stack(wanted))


def fastest() -> JpegMaker | None:
    """None where nothing is compiled, or Pillow's libjpeg-turbo is not one that can be called and gives the same."""
    if resample.NATIVE is None:
        return None
    native = jpeg_maker(resample.NATIVE.kernel, tall_down_first=resample.NATIVE.tall_down_first)
    return native if native is not None and equals_decoding(native) else None


NATIVE = fastest()
