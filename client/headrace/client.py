"""Connecting to servers, and asking for datasets."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from headrace_proto.plan import Plan
from headrace_proto.transforms import Transform

from .asking import agree_on, ask
from .dataset import Dataset, Options
from .endpoint import ConnectOptions
from .errors import PlanRefused, UsageError
from .positions import Sharding, Tail
from .servers import Servers

logger = logging.getLogger("headrace")
_RETRY_SECONDS = 300.0


def connect(
    url: str | Sequence[str],
    *,
    token: str | None = None,
    wait: float = 300.0,
    connect_timeout: float = 5.0,
    read_timeout: float = 30.0,
    retry_timeout: float | None = None,
    stall_timeout: float = 120.0,
    ca: str | None = None,
    cert: tuple[str, str] | None = None,
) -> Client:
    """Connects to a headrace server, and waits up to `wait` seconds for one that is not up yet.

    Args:
        url: as in "http://storage:8000". Of several, or of a name with several addresses, all that are up have the
            batches in turns; one in trouble is left out, and tried again later.
        token: sent as a bearer token.
        wait: seconds to wait while connections are refused or the server says 503; 0 fails at once.
        connect_timeout: seconds for one connection to be made.
        read_timeout: seconds without a byte (servers ping every 5) after which a server counts as dead.
        retry_timeout: seconds that a running stream may be without a batch, while servers that failed are tried again,
            before an error is raised; None is 300, or 0 where `wait` is 0. With 0 only others that are up are tried.
        stall_timeout: seconds that a server may send pings and no batch before it counts as failed.
        ca: a file of certificates to trust in place of the system's.
        cert: files of the client's own certificate and key.

    Raises:
        ConnectionFailed: nothing answers in time.
        NotHeadrace, VersionMismatch, Unauthorized: something else answers, three times.
        UsageError: the URL is none.
    """
    urls = [url] if isinstance(url, str) else list(url)
    if retry_timeout is None:
        retry_timeout = _RETRY_SECONDS if wait else 0.0
    options = ConnectOptions(token, wait, connect_timeout, read_timeout, retry_timeout, stall_timeout, ca=ca, cert=cert)
    servers = Servers(urls, options)
    try:
        servers.connect()
    except BaseException:
        servers.close()
        raise
    return Client(servers)


class Client:
    """A connection to headrace servers; use it in a `with`, or `close` it, or leave it to the end of the process."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    def __repr__(self) -> str:
        return f"<headrace.Client of {self._servers}>"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections. Datasets of this client cannot be iterated any more."""
        self._servers.close()

    def datasets(self) -> list[dict[str, Any]]:
        """What is served: name, splits, classes, fields, fingerprint and default transforms of each dataset."""
        return ask(self._servers, lambda endpoint: endpoint.datasets())[1]

    def dataset(
        self,
        name: str,
        *,
        batch_size: int,
        split: str | None = None,
        transforms: Sequence[Transform | Mapping[str, Any]] | None = None,
        shuffle: bool = False,
        seed: int = 0,
        epochs: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        tail: Tail | None = None,
        dtype: str | None = None,
        layout: str = "NHWC",
        replace_budget: float | None = None,
        prefetch: int = 4,
        checksum: bool = False,
    ) -> Dataset:
        """The batches of a dataset, for one rank.

        Args:
            name: as the server calls it; `datasets()` lists what there is.
            batch_size: samples in a batch of this rank.
            split: may be left out where there is only one.
            transforms: applied by the server, in this order; None takes the dataset's default.
            shuffle: a new order in every epoch, given by `seed`; otherwise the index's.
            seed: of the order and of random transforms, from 0 to 2**63 - 1.
            epochs: epochs in one pass; None is one, and the next pass yields the next.
            rank, world_size: this trainer's number, from 0, and how many there are.
            tail: what becomes of samples that do not fill a batch on every rank: "partial" sends a short batch, "drop"
                none, "pad" fills up with samples from the beginning and marks them False in the column "valid". The
                default is "partial" for one rank and "drop" for more.
            dtype: of the images: "uint8", "float32" or "float16"; None is what the transforms end in.
            layout: of the images on the wire: "NHWC" or "NCHW".
            replace_budget: share of an epoch's samples that may be replaced because they cannot be decoded, before
                TooManyReplaced is raised; None takes the server's.
            prefetch: batches received ahead of the trainer.
            checksum: checks every frame against a CRC-32.

        Raises:
            PlanRefused: the server does not have it, or the transforms do not make a batch.
            DataChanged: two servers have different data under the name, or decode with different releases.
            UsageError: an argument cannot be.
        """
        rank, world_size = _own_place(rank, world_size)
        options = Options(epochs, replace_budget, prefetch, checksum)
        data = {
            "dataset": name,
            "split": split,
            "transforms": tuple(transforms) if isinstance(transforms, Sequence) else transforms,
            "shuffle": shuffle,
            "seed": seed,
            "dtype": dtype,
            "layout": layout,
        }
        try:
            plan = Plan.from_json(data)
        except ValueError as error:
            raise PlanRefused(str(error)) from error
        info = agree_on(self._servers, plan, twice=checksum)
        chosen: Tail = tail if tail is not None else ("partial" if world_size == 1 else "drop")
        sharding = Sharding(info.samples, batch_size, rank, world_size, chosen)
        if chosen == "drop" and not sharding.steps():
            logger.warning(
                '%s has %d samples, fewer than world_size x batch_size = %d, and tail="drop" leaves none of them; take '
                'a smaller batch_size, or tail="pad" or "partial"',
                name,
                info.samples,
                sharding.step,
            )
        return Dataset(self._servers, plan, info, sharding, options)


def _own_place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """The rank and the world's size, which must be said where the environment says that there are several workers."""
    if rank is None and world_size is None:
        found = _workers_in_environment()
        if found is not None:
            raise UsageError(
                f"{found} says that there are several workers, and rank and world_size are left out: each would train "
                "on the same samples. Pass them, for example rank=int(os.environ['RANK']), "
                "world_size=int(os.environ['WORLD_SIZE']); or rank=0, world_size=1 to do without"
            )
        return 0, 1
    if rank is None or world_size is None:
        raise UsageError("rank and world_size go together; one of them is left out")
    return rank, world_size


def _workers_in_environment() -> str | None:
    size = os.environ.get("WORLD_SIZE", "")
    if size.isdigit() and int(size) > 1:
        return f"WORLD_SIZE={size}"
    try:
        cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
        workers = sum(len(cluster.get(job, ())) for job in ("chief", "master", "worker"))
    except (ValueError, AttributeError, TypeError):
        return None  # not ours to judge
    return f"TF_CONFIG with {workers} workers" if workers > 1 else None
