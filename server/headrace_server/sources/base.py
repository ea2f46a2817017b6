"""What a source of samples promises, and what can be done with any source."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headrace_server.decode import Decoded
from headrace_server.errors import UnknownSplit

Progress = Callable[[int], None]
"""Is told how many are done so far; called often and from the caller's thread, so it may throttle as it likes."""


def unheard(count: int) -> None:
    """The `Progress` of whoever asked for none."""


# The same split under two names: either finds the other.
_ALIASES = {"val": "validation", "validation": "val"}
# Samples digested by one task: enough to make the hand-over cheap, few enough to keep every thread busy.
_BLOCK = 64
_DIGEST_BYTES = 16


class SampleIndex(Protocol):
    """The samples of one split, numbered from 0."""

    @property
    def labelled(self) -> bool:
        """Whether the samples have labels."""
        ...

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names of the labels; None where they have none, or there are no labels."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """(height, width, channels) where all samples are pictures of one shape already; None where they are files."""
        ...

    @property
    def mean_size(self) -> int:
        """Mean bytes of a sample as it is read, to reckon read-ahead by."""
        ...

    def size(self, i: int) -> int:
        """Bytes of a sample as it is read."""
        ...

    def __len__(self) -> int: ...

    def key(self, i: int) -> bytes:
        """What a sample is called: a relative path, as raw bytes with "/" between its parts."""
        ...

    def keys(self, ids: Iterable[int]) -> list[bytes]:
        """The `key` of each of `ids`."""
        ...

    def labels(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The label of each of `ids`; raises ValueError where there are none."""
        ...


class Catalogue(Protocol):
    """What samples a dataset has. It never changes once it is there.

    Equal data, on whatever machine and from whatever kind of source, have an equal order in the index; where the
    data differ the fingerprint differs. Servers are interchangeable because of these two promises.
    """

    @property
    def name(self) -> str:
        """What clients call the dataset."""
        ...

    @property
    def splits(self) -> Mapping[str, SampleIndex]:
        """The index of each split; at least one, and none of them empty."""
        ...

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many things were found and left out, by reason."""
        ...

    @property
    def fingerprint(self) -> str:
        """Names the data: see `headrace_server.index.fingerprint`."""
        ...


class Source(Catalogue, Protocol):
    """A catalogue whose samples can be read: encoded images (files, members of tar shards, objects in a store), or
    pictures that need no decoding (rows of an array).

    A source without times of modification has zeros for them in its index, and finds changes some other way.
    """

    def read(self, split: str, sample: int) -> bytes | Decoded:
        """One sample as it was indexed, encoded or as a picture; or an error.

        Blocks, and is called from many threads at once, never from the event loop. Raises `SampleVanished`,
        `SampleChanged` or `SampleUnavailable` and no other error for what the world outside does; it does not
        retry. `split` is a name in `splits`, `sample` a row of that index.
        """
        ...


class EncodedSource(Source, Protocol):
    """A source of encoded images."""

    def read(self, split: str, sample: int) -> bytes:
        """The encoded bytes of one sample; see `Source.read`."""
        ...


def find_split(splits: Iterable[str], name: str | None) -> str:
    """The split that `name` means: itself, or its alias (``val``, ``validation``), or the same in other case.

    None means the only one there is. Raises `UnknownSplit`, which names what exists.
    """
    known = list(splits)
    if name is None:
        if len(known) == 1:
            return known[0]
        raise UnknownSplit(name, known)
    alias = _ALIASES.get(name.lower(), name)
    candidates = [name]
    for wanted in (name, alias):
        candidates += [split for split in known if split.lower() == wanted.lower()]
    for candidate in candidates:
        if candidate in known:
            return candidate
    raise UnknownSplit(name, known)


def content_digests(
    source: EncodedSource, split: str, *, threads: int = 16, progress: Progress = unheard
) -> NDArray[np.uint8]:
    """Read every sample of a split and digest its bytes, for `fingerprint`: uint8[N, 16], in the index's order.

    Raises what `source.read` raises for the first sample that fails.
    """
    count = len(source.splits[split])
    digests = np.empty((count, _DIGEST_BYTES), np.uint8)

    def digest_block(start: int) -> int:
        stop = min(start + _BLOCK, count)
        for sample in range(start, stop):
            digest = hashlib.blake2b(source.read(split, sample), digest_size=_DIGEST_BYTES).digest()
            digests[sample] = np.frombuffer(digest, np.uint8)
        return stop

    with ThreadPoolExecutor(threads, "headrace-digest") as pool:
        for done in pool.map(digest_block, range(0, count, _BLOCK)):
            progress(done)
    return digests
