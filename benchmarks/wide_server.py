"""`headrace serve` on an index of made-up samples that was saved before; every read gives the same picture.

Words: the folder of the saved columns, then serve's own, which name a folder of a few real pictures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headrace_server.commands.serve import Serve, settings_of
from headrace_server.index import Index, Strings, fingerprint
from headrace_server.logs import configure
from headrace_server.server import serve
from headrace_server.service import Service

_DIRECTORIES = 1000
_NAME = 12
"""Bytes of each name, as in 00001234.jpg."""


@dataclass(frozen=True)
class MadeUp:
    """A `Source` whose samples are all the same picture."""

    name: str
    splits: Mapping[str, Index]
    fingerprint: str
    picture: Any
    """As the source that it is from gives it."""

    @property
    def skipped(self) -> Mapping[str, int]:
        return {}

    def read(self, split: str, sample: int) -> Any:
        return self.picture


def made_up_index(count: int) -> Index:
    """An index of `count` samples in a thousand classes."""
    numbers = np.arange(count, dtype=np.int64)
    digits = (numbers[:, None] // 10 ** np.arange(7, -1, -1)) % 10 + ord("0")
    blob = np.concatenate([digits.astype(np.uint8), np.tile(np.frombuffer(b".jpg", np.uint8), (count, 1))], axis=1)
    return Index(
        names=Strings(blob.reshape(-1), np.arange(count + 1, dtype=np.int64) * _NAME),
        sizes=np.full(count, 60_000, np.int64),
        mtimes_ns=np.full(count, 1_700_000_000_000_000_000, np.int64),
        directory_ids=(numbers * _DIRECTORIES // count).astype(np.int32),
        directories=Strings.pack([b"class-%03d" % number for number in range(_DIRECTORIES)]),
        directory_labels=np.arange(_DIRECTORIES, dtype=np.int64),
        classes=tuple(f"class-{number:03}" for number in range(_DIRECTORIES)),
    )


def save(folder: Path, count: int) -> None:
    """Makes an index up and saves its columns, unless they are there."""
    if (folder / "fingerprint").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    index = made_up_index(count)
    for name, column in index.columns().items():
        np.save(folder / f"{name}.npy", column)
    (folder / "fingerprint").write_text(fingerprint({"all": index}))


def load(folder: Path) -> tuple[Index, str]:
    """The saved index, mapped into memory, and its fingerprint."""
    index = Index.from_columns({path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")})
    return index, (folder / "fingerprint").read_text()


def main() -> None:
    parser = argparse.ArgumentParser()
    Serve().add_arguments(parser)
    settings = settings_of(parser.parse_args(sys.argv[2:]))
    configure(settings.log_level, settings.log_format)

    def announce(service: Service, url: str) -> None:
        index, name = load(Path(sys.argv[1]))
        for dataset in service.catalog:
            source = dataset.source
            made_up = MadeUp(source.name, {"all": index}, name, source.read(next(iter(source.splits)), 0))
            object.__setattr__(dataset, "source", made_up)
        print(f"serving on {url}", flush=True)

    serve(settings, lambda *_: None, announce)


if __name__ == "__main__":
    main()
