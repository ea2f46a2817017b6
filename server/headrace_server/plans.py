"""Plans resolved: every default filled in, an id of the content, and all that making its batches needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from headrace_proto import arrays
from headrace_proto.checks import found
from headrace_proto.plan import Output, Plan, PlanInfo

from .access import EVERYTHING, Grant
from .catalog import Catalog, Dataset
from .decode import Bounds, engine
from .errors import UnknownSplit
from .order import Order, epoch_order
from .plan_files import KEPT, PlanFiles
from .problems import Problem
from .sources.arrays import ArraysSource, Gather
from .sources.base import SampleIndex, find_split
from .transforms.custom import CustomTransforms
from .transforms.pipeline import Pipeline, PlanError, compile_pipeline

_USUAL_BOUNDS = Bounds()
LABEL, KEY = Output("label", "int64", ()), Output("key", arrays.STRING, ())


@dataclass(frozen=True, eq=False)
class ResolvedPlan:
    """A plan, and all that making its batches needs."""

    info: PlanInfo
    dataset: Dataset
    index: SampleIndex
    pipeline: Pipeline
    shuffle: bool
    seed: int
    gather: Gather | None
    """Gives all images of a batch at once, where the samples are arrays and go into it as they are."""

    @property
    def mean_size(self) -> int:
        """Mean bytes that a sample takes between its reading and its slot, to reckon read-ahead by."""
        return 0 if self.gather is not None else self.index.mean_size

    @property
    def samples(self) -> int:
        return self.info.samples

    def order(self, epoch: int) -> Order:
        return _order(self.samples, self.shuffle, self.seed, epoch)

    def batch_bytes(self, count: int) -> int:
        """Bytes of the payload of a batch of `count` samples."""
        return _payload_bytes(self.info.outputs, count)


@lru_cache(maxsize=1024)  # asked for each batch that is begun
def _payload_bytes(outputs: tuple[Output, ...], count: int) -> int:
    return arrays.describe(outputs, count)[1]


@lru_cache(maxsize=64)  # streams and epochs in progress share what an order computed
def _order(count: int, shuffle: bool, seed: int, epoch: int) -> Order:
    return epoch_order(count, shuffle=shuffle, seed=seed, epoch=epoch)


def resolve(plan: Plan, catalog: Catalog, custom: CustomTransforms, bounds: Bounds) -> ResolvedPlan:
    """Raises Problem: 404 for a dataset or split that is not there, 422 for transforms that make no batch."""
    dataset = catalog.dataset(plan.dataset)
    try:
        split = find_split(dataset.source.splits, plan.split)
    except UnknownSplit as error:
        raise Problem(404, "no such split", f"dataset {found(plan.dataset)}: {error}") from error
    index = dataset.source.splits[split]
    transforms = dataset.transforms if plan.transforms is None else plan.transforms
    try:
        pipeline = compile_pipeline(
            transforms, dtype=plan.dtype, layout=plan.layout, custom=custom, image_shape=index.image_shape
        )
    except PlanError as error:
        raise Problem(422, "invalid plan", str(error)) from error
    outputs = (pipeline.output, LABEL, KEY) if index.labelled else (pipeline.output, KEY)
    full = {**plan.to_json(), "split": split, "transforms": pipeline.resolved}
    info = PlanInfo(
        id=_identity(full, pipeline, dataset, bounds),
        engine=engine(),
        dataset=dataset.name,
        split=split,
        samples=len(index),
        outputs=outputs,
        plan=full,
        fingerprint=dataset.source.fingerprint,
        classes=index.classes,
        replace_budget=dataset.replace_budget,
    )
    return ResolvedPlan(info, dataset, index, pipeline, plan.shuffle, plan.seed, _gather(dataset, split, pipeline))


def _identity(plan: dict[str, Any], pipeline: Pipeline, dataset: Dataset, bounds: Bounds) -> str:
    content = {**plan, "versions": list(pipeline.versions), "fingerprint": dataset.source.fingerprint}
    if dataset.on_error != "replace":
        content["on_error"] = dataset.on_error
    if bounds != _USUAL_BOUNDS:  # what is replaced on one server must be replaced on all
        content["bounds"] = list(bounds)
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16, person=b"headrace-plan-1").hexdigest()


def _gather(dataset: Dataset, split: str, pipeline: Pipeline) -> Gather | None:
    source = dataset.source
    return partial(source.gather, split) if isinstance(source, ArraysSource) and pipeline.is_copy else None


class PlanStore:
    """The plans that clients have posted, by id; the longest unused is forgotten first."""

    def __init__(
        self,
        catalog: Catalog,
        custom: CustomTransforms,
        files: PlanFiles | None = None,
        bounds: Bounds = _USUAL_BOUNDS,
    ) -> None:
        """`files` keep the plans that were posted to other processes of this server, too."""
        self._catalog, self._custom, self._files, self._bounds = catalog, custom, files, bounds
        self._plans: OrderedDict[str, ResolvedPlan] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, data: Any, grant: Grant = EVERYTHING) -> ResolvedPlan:
        """The plan in JSON data, resolved. Raises Problem, also where `grant` does not allow its dataset."""
        try:
            plan = Plan.from_json(data)
        except ValueError as error:
            raise Problem(422, "invalid plan", str(error)) from error
        grant.check(plan.dataset)
        resolved = resolve(plan, self._catalog, self._custom, self._bounds)
        if self._files is not None:  # before it is answered: the next request may reach another process
            try:
                self._files.put(resolved.info.id, plan.to_json())
            except OSError as error:
                raise Problem(503, "cannot keep the plan", f"in the server's temporary directory: {error}") from error
        return self._remember(resolved)

    def get(self, plan_id: str) -> ResolvedPlan:
        """Raises Problem (404) telling the client to post the plan again."""
        with self._lock:
            resolved = self._plans.get(plan_id)
            if resolved is not None:
                self._plans.move_to_end(plan_id)
                return resolved
        data = None if self._files is None else self._files.get(plan_id)
        if data is None:
            detail = f"this server does not know the plan {plan_id[:64]!r}; POST it to /v1/plans again"
            raise Problem(404, "no such plan", detail, code="unknown-plan")
        return self._remember(resolve(Plan.from_json(data), self._catalog, self._custom, self._bounds))

    def _remember(self, resolved: ResolvedPlan) -> ResolvedPlan:
        with self._lock:
            resolved = self._plans.setdefault(resolved.info.id, resolved)
            self._plans.move_to_end(resolved.info.id)
            while len(self._plans) > KEPT:
                self._plans.popitem(last=False)
        return resolved
