"""From a command's arguments to a client and a dataset."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from headrace.client import Client, connect
from headrace.dataset import Dataset
from headrace.errors import UsageError


def connected(arguments: argparse.Namespace) -> Client:
    """The client for arguments of `add_connection`."""
    token = arguments.token or os.environ.get("HEADRACE_TOKEN")
    return connect(arguments.url, token=token, wait=arguments.wait, retry_timeout=0.0)


def planned(client: Client, arguments: argparse.Namespace, **more: Any) -> Dataset:
    """The dataset for arguments of `add_plan`.

    Any share of it may be replaced: whoever looks at data wants to see what there is.
    """
    transforms = None
    if arguments.transforms is not None:
        try:
            transforms = json.loads(arguments.transforms)
        except ValueError as error:
            raise UsageError(f"--transforms is no JSON ({error}): {arguments.transforms}") from error
        if not isinstance(transforms, list):
            raise UsageError(f"--transforms must be a JSON list, as in '[...]', found {arguments.transforms}")
    return client.dataset(
        arguments.dataset,
        split=arguments.split,
        transforms=transforms,
        shuffle=arguments.shuffle,
        seed=arguments.seed,
        rank=0,
        world_size=1,
        replace_budget=1.0,
        **more,
    )
