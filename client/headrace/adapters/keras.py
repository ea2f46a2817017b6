"""A Keras callback that keeps the model and the place in the data together."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace_proto import checks

from ..errors import UsageError

try:
    import keras
except ImportError as error:
    raise UsageError("a checkpoint needs Keras: pip install keras") from error

if TYPE_CHECKING:
    from ..dataset import Dataset

_STATE = "headrace.json"


class Checkpoint(keras.callbacks.Callback):  # type: ignore[misc]
    """Saves the model's and the optimizer's weights, and the state of a dataset, as one; `Dataset.checkpoint` makes it.

    The state is loaded when this is made, the weights when training begins. What is in `folder` is always a pair that
    belongs together, whenever the process dies: the state, written last, names the weights.
    """

    def __init__(self, dataset: Dataset, folder: str | os.PathLike[str], save_every: int | None) -> None:
        super().__init__()
        if save_every is not None:
            try:
                checks.integer("save_every", save_every, 1)
            except ValueError as error:
                raise UsageError(str(error)) from error
        self._dataset, self._folder, self._save_every = dataset, Path(folder), save_every
        self._batches = 0
        self._weights: Path | None = None
        self._restored = False
        path = self._folder / _STATE
        if path.exists():
            saved = _read(path)
            dataset.load_state_dict(saved["state"])
            self._weights, self._batches = self._folder / saved["weights"], saved["batches"]

    def on_train_begin(self, logs: Any = None) -> None:
        if self._weights is not None and not self._restored:
            # A new optimizer has no variables yet that the saved ones could go into.
            self.model.optimizer.build(self.model.trainable_variables)
            self.model.load_weights(self._weights)
        self._restored = True

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._batches += 1
        if self._save_every is not None and self._batches % self._save_every == 0:
            self._save()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._save()

    def _save(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        weights = self._folder / f"batch-{self._batches}.weights.h5"
        self.model.save_weights(weights, overwrite=True)
        saved = {"weights": weights.name, "batches": self._batches, "state": self._dataset.state_dict()}
        part = self._folder / f"{_STATE}.part"
        part.write_text(json.dumps(saved))
        part.replace(self._folder / _STATE)
        if self._weights is not None and self._weights != weights:
            self._weights.unlink(missing_ok=True)
        self._weights = weights


def _read(path: Path) -> dict[str, Any]:
    try:
        saved = json.loads(path.read_text())
        return {"weights": str(saved["weights"]), "batches": int(saved["batches"]), "state": saved["state"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no checkpoint of headrace: {error}; name another folder") from error
