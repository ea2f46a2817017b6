"""The walk over a folder's tree: which images there are, how large and how old, and what was left out."""

from __future__ import annotations

import os
import stat
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from queue import SimpleQueue
from threading import Lock, Semaphore

import numpy as np

from headrace_server.errors import ConfigurationError
from headrace_server.index import Listing, Strings, text_of
from headrace_server.sources.base import Progress, unheard

EXTENSIONS = frozenset(b".jpg .jpeg .jpe .jfif .png .webp .bmp .dib .gif .tif .tiff".split())
"""File names that end so, in any case, are taken for images."""

HIDDEN = "hidden"
NOT_AN_IMAGE = "not an image"
NOT_A_FILE = "not a regular file"
LINK_OUT = "link out of the folder"
LINK_UP = "link to a folder above itself"
LINK_BROKEN = "broken link"
VANISHED = "vanished during the scan"

UNSETTLED = -1
"""Stands for the time of a directory that had just changed when it was listed.

Clocks of file systems tick some hundred times a second, so what changes next may not show in its time.
"""
_TICK_NS = 20_000_000

# Entries examined in one go. A larger directory is shared out between the threads.
_CHUNK = 1024


@dataclass(frozen=True)
class Scan:
    """What a walk found."""

    listings: list[Listing]
    """The directories that hold images, sorted by their path's parts."""
    skipped: Counter[str]
    """How much was left out, by reason."""
    directories: dict[bytes, int]
    """Every directory that was listed, by its real path, and when it had last been modified (ns), or `UNSETTLED`."""


@dataclass(frozen=True)
class _Folder:
    """A directory to list: its path from the root, where it really is, and where the links to it were."""

    path: bytes
    real: bytes
    trail: tuple[bytes, ...] = ()

    def child(self, name: bytes) -> bytes:
        return self.path + b"/" + name if self.path else name


@dataclass
class _Found:
    """What one task found in one directory."""

    folder: _Folder
    names: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    mtimes_ns: list[int] = field(default_factory=list)
    folders: list[_Folder] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def scan(root: bytes, *, threads: int = 16, progress: Progress = unheard) -> Scan:
    """Walk the tree under `root`, a real path, with several threads.

    The result does not depend on the order in which the file system lists its directories. Links that stay under
    `root` are followed; hidden things, other files and links that lead out are left out and counted.

    Raises:
        ConfigurationError: a directory cannot be read; the message names it.
    """
    parts: defaultdict[bytes, list[Listing]] = defaultdict(list)
    skipped: Counter[str] = Counter()
    count = 0
    with ThreadPoolExecutor(threads, "headrace-scan") as pool:
        walk = _Walk(root, pool, spare_chunks=4 * threads)
        try:
            for listing, left_out in walk.results():
                skipped.update(left_out)
                if len(listing):
                    parts[listing.path].append(listing)
                    count += len(listing)
                    progress(count)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return Scan([_merge(parts[path]) for path in sorted(parts, key=path_parts)], skipped, walk.directories)


def path_parts(path: bytes) -> list[bytes]:
    """What directories are sorted by: the root first, a folder just before those in it."""
    return path.split(b"/") if path else []


def _merge(parts: list[Listing]) -> Listing:
    if len(parts) == 1:
        return parts[0]
    return Listing.sorted_by_name(
        parts[0].path,
        list(Strings.concatenate([part.names for part in parts])),
        np.concatenate([part.sizes for part in parts]),
        np.concatenate([part.mtimes_ns for part in parts]),
    )


class _Walk:
    """The tasks under way: each lists a directory, or examines a part of a large one, and starts those below it."""

    def __init__(self, root: bytes, pool: ThreadPoolExecutor, spare_chunks: int) -> None:
        self.directories: dict[bytes, int] = {}
        self._root = root
        self._pool = pool
        self._spare = Semaphore(spare_chunks)
        self._lock = Lock()
        self._pending = 0
        self._done: SimpleQueue[Future[tuple[Listing, Counter[str]]]] = SimpleQueue()
        self._submit(self._list, _Folder(b"", root))

    def results(self) -> Iterator[tuple[Listing, Counter[str]]]:
        # A task counts its children before it is itself done, so zero means that nothing is left.
        while self._pending:
            future = self._done.get()
            with self._lock:
                self._pending -= 1
            yield future.result()

    def _submit(self, task: Callable[..., tuple[Listing, Counter[str]]], *arguments: object) -> None:
        with self._lock:
            self._pending += 1
        self._pool.submit(task, *arguments).add_done_callback(self._done.put)

    def _list(self, folder: _Folder) -> tuple[Listing, Counter[str]]:
        found = _Found(folder)
        try:
            self.directories[folder.real] = _settled_time(folder.real)
            with os.scandir(folder.real) as entries:
                while chunk := list(islice(entries, _CHUNK)):
                    # With no room for more tasks it does the work itself, which bounds the entries held in memory.
                    if len(chunk) == _CHUNK and self._spare.acquire(blocking=False):
                        self._submit(self._share, folder, chunk)
                    else:
                        _examine(chunk, self._root, found)
        except OSError as error:
            raise ConfigurationError(f"cannot read {_place(error, folder)}: {error.strerror}") from error
        return self._finish(found)

    def _share(self, folder: _Folder, chunk: list[os.DirEntry[bytes]]) -> tuple[Listing, Counter[str]]:
        found = _Found(folder)
        try:
            _examine(chunk, self._root, found)
        except OSError as error:
            raise ConfigurationError(f"cannot read {_place(error, folder)}: {error.strerror}") from error
        finally:
            self._spare.release()
        return self._finish(found)

    def _finish(self, found: _Found) -> tuple[Listing, Counter[str]]:
        for folder in found.folders:
            self._submit(self._list, folder)
        return Listing.sorted_by_name(found.folder.path, found.names, found.sizes, found.mtimes_ns), found.skipped


def _settled_time(directory: bytes) -> int:
    modified = os.stat(directory).st_mtime_ns
    return modified if time.time_ns() - modified > _TICK_NS else UNSETTLED


def _place(error: OSError, folder: _Folder) -> str:
    path = error.filename if isinstance(error.filename, bytes) else folder.real
    return text_of(path)[0]


def _examine(entries: Iterable[os.DirEntry[bytes]], root: bytes, found: _Found) -> None:
    for entry in entries:
        if entry.name.startswith(b"."):
            found.skipped[HIDDEN] += 1
        elif entry.is_symlink():
            _examine_link(entry, root, found)
        elif entry.is_dir(follow_symlinks=False):
            folder = found.folder
            found.folders.append(_Folder(folder.child(entry.name), os.path.join(folder.real, entry.name), folder.trail))
        else:
            _examine_file(entry, found)


def _examine_file(entry: os.DirEntry[bytes], found: _Found) -> None:
    name = entry.name
    dot = name.rfind(b".")
    if dot < 0 or name[dot:].lower() not in EXTENSIONS:
        found.skipped[NOT_AN_IMAGE] += 1
        return
    try:
        status = entry.stat()
    except FileNotFoundError:
        found.skipped[VANISHED] += 1
        return
    if not stat.S_ISREG(status.st_mode):
        found.skipped[NOT_A_FILE] += 1
        return
    found.names.append(name)
    found.sizes.append(status.st_size)
    found.mtimes_ns.append(status.st_mtime_ns)


def _examine_link(entry: os.DirEntry[bytes], root: bytes, found: _Found) -> None:
    folder = found.folder
    try:
        target = os.path.realpath(entry.path, strict=True)
    except OSError:
        found.skipped[LINK_BROKEN] += 1
        return
    if not _is_within(target, root):
        found.skipped[LINK_OUT] += 1
    elif not entry.is_dir():
        _examine_file(entry, found)
    elif any(_is_within(real, target) for real in (*folder.trail, folder.real)):
        found.skipped[LINK_UP] += 1
    else:
        found.folders.append(_Folder(folder.child(entry.name), target, (*folder.trail, folder.real)))


def _is_within(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")
