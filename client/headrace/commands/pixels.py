"""From a batch's images to pixels that can be looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def visible(images: NDArray[Any], plan: Mapping[str, Any]) -> Pixels:
    """Images of any dtype and layout as uint8 (N, H, W, channels); what Normalize did to the colours is undone.

    Args:
        images: (N, H, W, C) or (N, C, H, W), as a batch of `plan` has them.
        plan: the plan with its defaults filled in, `PlanInfo.plan`: it says the layout, and which Normalize was last.
    """
    if plan.get("layout") == "NCHW":
        images = images.transpose(0, 2, 3, 1)
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    values = images.astype(np.float32)
    last = (plan.get("transforms") or [{}])[-1]
    if last.get("name") == "Normalize":
        values = (values * np.float32(last["std"]) + np.float32(last["mean"])) * 255
    pixels: Pixels = np.rint(values.clip(0, 255)).astype(np.uint8)
    return pixels
