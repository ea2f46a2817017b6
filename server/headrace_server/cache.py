"""Images kept as far as they are the same in every epoch: decoded, and up to the first random transform."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class CacheKey(NamedTuple):
    """An image at the end of a plan's deterministic beginning."""

    dataset: str
    split: str
    beginning: str
    """The transforms so far, with their versions."""
    sample: int


class ImageCache:
    """Images by key, up to a number of bytes; the longest unused goes first. Safe to use from many threads."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.used_bytes = 0
        self._images: OrderedDict[CacheKey, NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: CacheKey) -> NDArray[np.uint8] | None:
        """The image, which nobody may write to; or None."""
        if not self.most_bytes:
            return None
        with self._lock:
            image = self._images.get(key)
            if image is not None:
                self._images.move_to_end(key)
            return image

    def put(self, key: CacheKey, image: NDArray[Any]) -> None:
        """Keeps a copy of the image, if there is room for one at all."""
        if image.nbytes > self.most_bytes:
            return
        image = np.array(image, order="C")
        with self._lock:
            if key in self._images:
                return
            self._images[key] = image
            self.used_bytes += image.nbytes
            while self.used_bytes > self.most_bytes:
                _, oldest = self._images.popitem(last=False)
                self.used_bytes -= oldest.nbytes
