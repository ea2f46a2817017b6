"""The data of a run, made once below `build/` and kept for the next."""

from __future__ import annotations

import io
import itertools
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.photographs import write_arrays, write_jpegs
from benchmarks.stage import Stage

SIDE = 224
RESIZE: list[dict[str, Any]] = [{"name": "Resize", "size": [SIDE, SIDE]}]
BATCH = 32
BATCH_BYTES = BATCH * SIDE * SIDE * 3
_SHARDS = 8


@dataclass(frozen=True)
class Work:
    """Makes what a case asks for, unless it is there already; `scale` makes less of it."""

    stage: Stage

    def jpegs(self) -> Path:
        """Class folders of JPEGs of about 500x375 at quality 94."""
        return self._jpegs("jpeg", self._scaled(2000, 256), (375, 500))

    def large(self) -> Path:
        """Photographs of 12 megapixels, enlarged from those that there are."""
        return self._jpegs("large", self._scaled(24, 8), (3000, 4000))

    def tiny(self) -> Path:
        """JPEGs of 8x8 pixels, which cost next to nothing to decode."""
        return self._jpegs("tiny", self._scaled(2000, 256), (8, 8))

    def arrays(self) -> Path:
        """image.npy (N, 224, 224, 3) uint8 and label.npy (N,) int64."""
        count = self._scaled(1000, 256)
        folder = self.stage.data / f"arrays-{count}"
        if not (folder / "label.npy").exists():
            self.stage.say(f"making {count} arrays")
            folder.mkdir(parents=True, exist_ok=True)
            np.save(folder / "image.npy", write_arrays(count, (SIDE, SIDE)))
            np.save(folder / "label.npy", np.arange(count, dtype=np.int64) % 10)
        return folder

    def shards(self) -> Path:
        """The JPEGs of `jpegs` in tar files, as WebDataset wants them, in shuffled order."""
        source = self.jpegs()
        folder = source.with_name(f"{source.name}-shards")
        if not (folder / ".complete").exists():
            folder.mkdir(parents=True, exist_ok=True)
            paths = np.random.default_rng(0).permutation(np.array(sorted(source.rglob("*.jpg"))))
            for number in range(_SHARDS):
                with tarfile.open(folder / f"{number}.tar", "w") as tar:
                    for path in paths[number::_SHARDS]:
                        _add(tar, f"{path.stem}.jpg", path.read_bytes())
                        _add(tar, f"{path.stem}.cls", path.parent.name.rpartition("-")[2].encode())
            (folder / ".complete").touch()
        return folder

    def _jpegs(self, name: str, count: int, size: tuple[int, int]) -> Path:
        folder = self.stage.data / f"{name}-{count}"
        if not (folder / ".complete").exists():
            self.stage.say(f"making {count} JPEGs of about {size[1]}x{size[0]}")
        return write_jpegs(folder, count, size)

    def _scaled(self, count: int, least: int) -> int:
        return max(least, int(count * self.stage.scale))


def mean_bytes(folder: Path, most: int = 200) -> int:
    """The mean size of the JPEGs in a folder, from the first of them."""
    sizes = [path.stat().st_size for path in itertools.islice(folder.rglob("*.jpg"), most)]
    return sum(sizes) // len(sizes)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
