"""A folder of image files as a source: its splits and classes are the folders in it."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace_server.errors import ConfigurationError, SampleChanged, SampleError, SampleUnavailable, SampleVanished
from headrace_server.index import Index, Listing, fingerprint, text_of
from headrace_server.logs import logger
from headrace_server.sources.base import Progress, content_digests, unheard
from headrace_server.sources.saved import SavedIndexes, Snapshot
from headrace_server.sources.scan import EXTENSIONS, path_parts, scan
from headrace_server.sources.splits import ONLY_SPLIT, is_split

BESIDE_CLASSES = "image beside class folders"
BESIDE_SPLITS = "image beside split folders"


class File(NamedTuple):
    """A file as it was when it was indexed."""

    path: bytes
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class FolderSource:
    """The images under `root` (a real path, raw bytes), as they were when they were indexed; a `Source`."""

    name: str
    root: bytes
    splits: Mapping[str, Index]
    skipped: Mapping[str, int]
    fingerprint: str

    def files(self, split: str, samples: NDArray[np.int64]) -> list[File]:
        """Where the samples are; `read` gives no other bytes than those of files of these sizes and times."""
        index = self.splits[split]
        columns = index.keys(samples.tolist()), index.sizes[samples].tolist(), index.mtimes_ns[samples].tolist()
        return [File(b"%b/%b" % (self.root, key), size, mtime) for key, size, mtime in zip(*columns, strict=True)]

    def read(self, split: str, sample: int) -> bytes:
        """The file's bytes; see `Source.read`. Size and time must be those of the index."""
        ((path, size, mtime_ns),) = self.files(split, np.array([sample]))
        key = path[len(self.root) + 1 :]
        try:
            data, status = _read_file(path, size)
        except (FileNotFoundError, NotADirectoryError) as error:
            reason = f"the file is gone; expected {size} bytes"
            raise self._error(SampleVanished, split, key, reason) from error
        except OSError as error:
            reason = f"{error.strerror or error}; expected {size} bytes"
            raise self._error(SampleUnavailable, split, key, reason) from error
        if len(data) != size or (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
            found = f"{status.st_size} bytes, modified at {status.st_mtime_ns} ns"
            expected = f"{size} bytes, modified at {mtime_ns} ns, as it was indexed"
            raise self._error(SampleChanged, split, key, f"found {found}; expected {expected}")
        return data

    def _error(self, kind: type[SampleError], split: str, key: bytes, reason: str) -> SampleError:
        return kind(reason, dataset=self.name, split=split, key=text_of(key)[0], stage="read")


def _read_file(path: bytes, size: int) -> tuple[bytes, os.stat_result]:
    """At most `size` bytes, and the file's status after they were read, so that a change in between shows."""
    # Without O_NONBLOCK a pipe that took the file's place would hold the thread for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        data = os.read(descriptor, size)
        while len(data) < size and (more := os.read(descriptor, size - len(data))):
            data += more
        return data, os.fstat(descriptor)
    finally:
        os.close(descriptor)


def open_folder(
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    content: bool = False,
    threads: int = 16,
    progress: Progress = unheard,
    hash_progress: Progress = unheard,
    saved: SavedIndexes | None = None,
) -> FolderSource:
    """Index a folder of images: scan it, or take the index that an earlier start has saved.

    Args:
        path: the folder.
        name: what clients call the dataset; the folder's own name by default.
        content: let the files' bytes count in the fingerprint; every one of them is read.
        threads: how many directories are listed, or files read, at the same time.
        progress: is told how many images were found so far.
        hash_progress: is told how many images of the split in hand were read so far, where `content` is set.
        saved: where indexes are kept from start to start; None scans every time.

    Raises:
        ConfigurationError: there is no such folder, it cannot be read, or it holds no images.
        SampleError: with `content`, an image cannot be read.
    """
    root = _resolve(path)
    own_name = name or text_of(os.fsencode(os.path.basename(os.path.abspath(path)) or "root"))[0]
    snapshot = saved.load(root, content) if saved is not None else None
    if snapshot is None:
        found = scan(root, threads=threads, progress=progress)
        splits, left_out = arrange(found.listings)
        skipped = found.skipped + left_out
        if not splits:
            raise ConfigurationError(_no_images(path, skipped))
        unread = FolderSource(own_name, root, splits, skipped, "")
        contents = _digests(unread, threads, hash_progress) if content else None
        snapshot = Snapshot(splits, skipped, fingerprint(splits, contents), found.directories)
        if saved is not None:
            saved.save(root, content, snapshot)
    if mixed := _split_names_among_classes(snapshot.splits):
        logger.warning(mixed, dataset=own_name)
    return FolderSource(own_name, root, snapshot.splits, snapshot.skipped, snapshot.fingerprint)


def _split_names_among_classes(splits: Mapping[str, Index]) -> str | None:
    """What to say where folders named like splits are classes, because others stand beside them."""
    classes = splits[ONLY_SPLIT].classes if ONLY_SPLIT in splits else None
    tops = sorted({name.split("/", 1)[0] for name in classes or ()})
    like_splits = [top for top in tops if is_split(top)]
    others = [top for top in tops if not is_split(top)]
    if not like_splits or not others:
        return None
    return (
        f"taken as classes and not as splits: {', '.join(like_splits)}; because of what stands beside them: "
        f"{_first(others)}; move it away to have splits"
    )


def _first(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3:,} more"


def _digests(source: FolderSource, threads: int, progress: Progress) -> dict[str, NDArray[np.uint8]]:
    return {split: content_digests(source, split, threads=threads, progress=progress) for split in source.splits}


def _resolve(path: str | os.PathLike[str]) -> bytes:
    shown = text_of(os.fsencode(path))[0]
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigurationError(f"{shown} does not exist; expected a folder of images") from error
    except OSError as error:
        raise ConfigurationError(f"cannot read {shown}: {error.strerror}; expected a folder of images") from error
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigurationError(f"{shown} is not a folder; expected a folder of images")
    return os.fsencode(os.path.realpath(path))


def _no_images(path: str | os.PathLike[str], skipped: Mapping[str, int]) -> str:
    shown = text_of(os.fsencode(path))[0]
    wanted = " ".join(sorted(extension.decode() for extension in EXTENSIONS))
    left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items())) or "nothing"
    return f"no images in {shown} or the folders in it; looked for {wanted}; left out: {left_out}"


def arrange(listings: Sequence[Listing]) -> tuple[dict[str, Index], Counter[str]]:
    """Tell splits and classes from the paths of the directories that hold images.

    Args:
        listings: sorted by `path_parts`.

    Returns:
        The index of each split, and how many images were left out, by reason. The class list is the sorted union
        over the labelled splits, so that a label means the same in all of them.
    """
    skipped: Counter[str] = Counter()
    labelled: dict[bytes, list[Listing]] = {}
    flat: dict[bytes, list[Listing]] = {}
    for prefix, group in _split_groups(listings, skipped).items():
        below = [listing for listing in group if listing.path != prefix]
        skipped[BESIDE_CLASSES] += sum(len(listing) for listing in group if below and listing.path == prefix)
        (labelled if below else flat)[prefix] = below or group
    paths = {_class_path(prefix, listing) for prefix, group in labelled.items() for listing in group}
    ids = {path: i for i, path in enumerate(sorted(paths, key=path_parts))}
    classes = _class_names(ids)
    splits = {_split_name(prefix): Index.from_listings(group) for prefix, group in flat.items()}
    for prefix, group in labelled.items():
        labels = [ids[_class_path(prefix, listing)] for listing in group]
        splits[_split_name(prefix)] = Index.from_listings(group, labels, classes)
    return dict(sorted(splits.items())), +skipped


def _split_groups(listings: Sequence[Listing], skipped: Counter[str]) -> dict[bytes, list[Listing]]:
    tops = {path_parts(listing.path)[0] for listing in listings if listing.path}
    if not tops or not all(is_split(text_of(top)[0]) for top in tops):
        return {b"": list(listings)} if listings else {}
    groups: dict[bytes, list[Listing]] = {top: [] for top in tops}
    for listing in listings:
        if listing.path:
            groups[path_parts(listing.path)[0]].append(listing)
        else:
            skipped[BESIDE_SPLITS] += len(listing)
    return groups


def _split_name(prefix: bytes) -> str:
    return prefix.decode("ascii") if prefix else ONLY_SPLIT


def _class_path(prefix: bytes, listing: Listing) -> bytes:
    return listing.path[len(prefix) + 1 :] if prefix else listing.path


def _class_names(paths: Iterable[bytes]) -> tuple[str, ...]:
    names = tuple(text_of(path)[0] for path in paths)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigurationError(f"two class folders are both written {twice[0]}: one is not UTF-8; rename one of them")
    return names
