"""What is served: the datasets by name, each a source with its defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from headrace_proto.checks import found
from headrace_proto.transforms import Transform, transform_from_json

from .errors import ConfigurationError, SampleError
from .problems import Problem
from .settings import DEFAULT_TRANSFORMS, DatasetSettings, Policy
from .sources.arrays import array_folders, open_arrays
from .sources.base import Source
from .sources.folder import open_folder
from .sources.saved import SavedIndexes
from .transforms.custom import CustomTransforms
from .transforms.pipeline import PlanError, compile_pipeline


@dataclass(frozen=True)
class Dataset:
    """A source, and what plans and samples of it fall back to."""

    source: Source
    transforms: tuple[Transform, ...]
    on_error: Policy
    replace_budget: float

    @property
    def name(self) -> str:
        return self.source.name

    def to_json(self) -> dict[str, Any]:
        splits = self.source.splits
        classes = next((index.classes for index in splits.values() if index.classes is not None), None)
        labelled = any(index.labelled for index in splits.values())
        return {
            "name": self.name,
            "fingerprint": self.source.fingerprint,
            "splits": {name: {"samples": len(index), "labels": index.labelled} for name, index in splits.items()},
            "classes": None if classes is None else list(classes),
            "fields": ["image", "label", "key"] if labelled else ["image", "key"],
            "transforms": [transform.to_json() for transform in self.transforms],
            "on_error": self.on_error,
            "replace_budget": self.replace_budget,
            "skipped": dict(self.source.skipped),
        }


class Catalog:
    """The datasets that this server serves, by name."""

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        self._datasets = {dataset.name: dataset for dataset in datasets}

    def __iter__(self) -> Iterator[Dataset]:
        return iter(self._datasets.values())

    def dataset(self, name: str) -> Dataset:
        """Raises Problem (404) naming what is served."""
        try:
            return self._datasets[name]
        except KeyError:
            served = ", ".join(sorted(self._datasets))
            raise Problem(404, "no such dataset", f"there is no dataset {found(name)}; served here: {served}") from None


def open_dataset(
    name: str,
    settings: DatasetSettings,
    custom: CustomTransforms,
    progress: Callable[[str, int], None],
    saved: SavedIndexes | None = None,
) -> Dataset:
    """Indexes a folder, of image files or of arrays, and checks that its default transforms make a batch.

    `progress(name, files)` is called while the folder is scanned, which it is not if its index is among those `saved`.
    Raises ConfigurationError.
    """
    of_arrays = bool(array_folders(settings.path))
    given = settings.transforms
    if given is None:
        given = [] if of_arrays else DEFAULT_TRANSFORMS
    transforms = tuple(transform_from_json(item) for item in given)
    if not of_arrays:  # before the folder is scanned, which may take long
        _check_transforms(name, transforms, custom)
    source = _open_source(name, settings, of_arrays, lambda count: progress(name, count), saved)
    if of_arrays:
        for index in source.splits.values():
            _check_transforms(name, transforms, custom, index.image_shape)
    assert settings.on_error is not None  # Settings.all_datasets filled it, and the budget
    assert settings.replace_budget is not None
    return Dataset(source, transforms, settings.on_error, settings.replace_budget)


def _open_source(
    name: str,
    settings: DatasetSettings,
    of_arrays: bool,
    progress: Callable[[int], None],
    saved: SavedIndexes | None,
) -> Source:
    path, content = settings.path, settings.fingerprint == "content"
    if of_arrays:
        return open_arrays(path, name=name, content=content, hash_progress=progress)
    try:
        return open_folder(path, name=name, content=content, progress=progress, hash_progress=progress, saved=saved)
    except SampleError as error:
        raise ConfigurationError(f"cannot take the fingerprint of the content: {error}") from error


def _check_transforms(
    name: str,
    transforms: tuple[Transform, ...],
    custom: CustomTransforms,
    image_shape: tuple[int, int, int] | None = None,
) -> None:
    try:
        compile_pipeline(transforms, dtype=None, layout="NHWC", custom=custom, image_shape=image_shape)
    except PlanError as error:
        raise ConfigurationError(f"dataset {name}: its default transforms: {error}") from error
