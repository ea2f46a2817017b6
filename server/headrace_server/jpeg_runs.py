"""The ordinary JPEGs of a run made together, in C, for which the interpreter's lock is let go of only once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from headrace_proto.buffers import BufferPool
from headrace_proto.frame import aligned

from . import resample
from .native import JpegMaker, JpegTask, address_of, jpeg_maker
from .orientation import jpeg_header
from .samples import SampleMaker
from .transforms.base import Cut, Image

_MOST_BYTES = 2**21
"""Of images that wait for their later steps, unless one alone has more."""
_rooms = BufferPool()


@dataclass(frozen=True)
class JpegRuns:
    """For one plan and epoch that begins with what `Cutting` is about."""

    native: JpegMaker
    maker: SampleMaker
    ids: NDArray[np.int64]
    images: NDArray[Any]
    """The slots; sample `ids[row]` belongs into `images[row]`."""

    def cut(self, files: Mapping[int, bytes]) -> Iterator[dict[int, Image | None]]:
        """The images of these rows' files as the first steps leave them, some at a time.

        None stands for those that are for SampleMaker alone: what is not a JPEG, in any way out of the ordinary or
        damaged, turned, too large or to be decoded smaller. The others are what SampleMaker would have made of them.
        Where there are no more steps they are put into their slots, and their rows left out.
        """
        if self.maker.plan.pipeline.ends_with_cut:
            yield self._fill(files)
        else:
            yield from self._cut_out(files)

    def _fill(self, files: Mapping[int, bytes]) -> dict[int, Image | None]:
        begin, stride = address_of(self.images), self.images.strides[0]
        tasks = {
            row: _task(data, sides, cut, begin + row * stride)
            for row, data, sides, cut in self._cuts(files)
            if cut is not None
        }
        made = self._make(tasks)
        return dict.fromkeys(row for row in files if row not in made)

    def _cut_out(self, files: Mapping[int, bytes]) -> Iterator[dict[int, Image | None]]:
        memory = _Memory()
        images: dict[int, Image | None] = {}
        tasks: dict[int, JpegTask] = {}
        for row, data, sides, cut in self._cuts(files):
            if cut is None:
                images[row] = None
                continue
            if not memory.has_room_for(cut):
                memory.leave()
                yield self._made(images, tasks)
            images[row] = image = memory.take(cut)
            tasks[row] = _task(data, sides, cut, address_of(image))
            del image  # whoever it is given to lets its memory be used again
        memory.leave()
        yield self._made(images, tasks)

    def _made(self, images: dict[int, Image | None], tasks: dict[int, JpegTask]) -> dict[int, Image | None]:
        """Empties both: whoever takes the images is the only one that holds them."""
        made = self._make(tasks)
        found = {row: image if row in made else None for row, image in images.items()}
        images.clear()
        tasks.clear()
        return found

    def _make(self, tasks: Mapping[int, JpegTask]) -> set[int]:
        """The rows of those that could be made."""
        made = self.native.make([*tasks.values()]) if tasks else []
        return {row for row, is_made in zip(tasks, made, strict=True) if is_made}

    def _cuts(self, files: Mapping[int, bytes]) -> Iterator[tuple[int, bytes, tuple[int, int], Cut | None]]:
        """Each row's file, its height and width, and what is to be cut from it, if anything."""
        plan, most_pixels = self.maker.plan, self.maker.bounds.pixels
        for (row, data), seen in zip(files.items(), self.native.look([*files.values()]), strict=True):
            height, width = sides = seen if seen[0] else _size(data)
            cut = None
            if 0 < height * width <= most_pixels:
                cut = plan.pipeline.cut(height, width, plan.seed, self.maker.epoch, int(self.ids[row]))
            yield row, data, sides, cut


def _task(data: bytes, sides: tuple[int, int], cut: Cut, out: int) -> JpegTask:
    window, size, interpolation, wanted, *flips = cut
    return JpegTask(data, *sides, window, size, interpolation == "bicubic", wanted, out, *flips)


class _Memory:
    """For the images of a group, used again once nobody holds any of them: fresh memory costs page faults."""

    def __init__(self) -> None:
        self._room: NDArray[np.uint8] | None = None
        self._used = 0

    def has_room_for(self, cut: Cut) -> bool:
        """An image that is larger than all others may be together has room by itself."""
        return not self._used or self._used + _nbytes(cut) <= _MOST_BYTES

    def take(self, cut: Cut) -> NDArray[np.uint8]:
        """For the image that the cut makes; there must be room."""
        nbytes = _nbytes(cut)
        if self._room is None:
            self._room = _rooms.get(_MOST_BYTES) if nbytes <= _MOST_BYTES else np.empty(nbytes, np.uint8)
        image = self._room[self._used : self._used + nbytes].reshape(*cut.wanted[2:], 3)
        self._used += aligned(nbytes)
        return image

    def leave(self) -> None:
        """To those who hold images in it; others go elsewhere."""
        self._room, self._used = None, 0


def _nbytes(cut: Cut) -> int:
    return cut.wanted[2] * cut.wanted[3] * 3


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
    out = np.empty((len(files), 30, 20, 3), np.uint8)
    window, wanted = (5, 70, 60, 50), (7, 3, 30, 20)
    tasks = [
        JpegTask(data, 70, 190, window, (40, 30), False, wanted, address_of(image))
        for data, image in zip(files, out, strict=True)
    ]
    if not all(native.make(tasks)):
        return False
    whole = [resample.resize(simplejpeg.decode_jpeg(data, "RGB")[5:65, 70:120], (40, 30)) for data in files]
    return np.array_equal(out, np.stack(whole)[:, 7:37, 3:23])


def fastest() -> JpegMaker | None:
    """None where nothing is compiled, or Pillow's libjpeg-turbo is not one that can be called and gives the same."""
    if resample.NATIVE is None:
        return None
    native = jpeg_maker(resample.NATIVE.kernel, tall_down_first=resample.NATIVE.tall_down_first)
    return native if native is not None and equals_decoding(native) else None


NATIVE = fastest()
