"""The server's options: one model for `headrace.toml`, the environment and the command line, validated together."""

from __future__ import annotations

import ipaddress
import json
import os
from pathlib import Path
from typing import Any, Literal, cast

import pydantic
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from headrace_proto.checks import found
from headrace_proto.transforms import transform_from_json

from .errors import ConfigurationError
from .sources.rescan import Rescan

CONFIG_FILE = "headrace.toml"
"""Read from the working directory where no --config says otherwise."""


def _cores() -> int:
    """The cores that this process may use; a container or `taskset` may allow fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_TOTALS = ("decode_threads", "read_threads", "max_streams", "memory_mb", "share_mb", "cache_mb")
"""What holds for all processes together."""
Policy = Literal["replace", "raise"]
FingerprintMode = Literal["names", "content"]
DEFAULT_TRANSFORMS: list[dict[str, Any]] = [{"name": "Resize", "size": 256}, {"name": "CenterCrop", "size": 224}]


class DatasetSettings(BaseModel):
    """One dataset; what is left out is taken from the server's options of the same names."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    path: Path
    transforms: list[dict[str, Any]] | None = None
    on_error: Policy | None = None
    replace_budget: float | None = Field(default=None, ge=0, le=1)
    fingerprint: FingerprintMode | None = None

    @field_validator("transforms")
    @classmethod
    def _transforms_are_known(cls, value: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        return None if value is None else _checked(value)


class Settings(BaseSettings):
    """Each field is an option of `serve`, a variable HEADRACE_..., a key of `headrace.toml`; the first wins.

    Lists and tables are JSON in the environment and on the command line; `data` may be one plain folder, too.
    """

    model_config = SettingsConfigDict(
        env_prefix="HEADRACE_", extra="forbid", allow_inf_nan=False, enable_decoding=False
    )

    data: list[str] = Field(default=[], description="folders to serve, as PATH or NAME=PATH")
    datasets: dict[str, DatasetSettings] = Field(
        default={}, description="datasets with options of their own, by name (a table in headrace.toml)"
    )
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    tokens: list[str] = Field(
        default=[], description='who may read, each as "TOKEN [DATASET-PATTERN ...]"; none lets everybody'
    )
    tokens_file: Path | None = Field(default=None, description="file with one such entry on each line")
    tls_cert: Path | None = Field(default=None, description="file of the server's certificate (PEM); turns TLS on")
    tls_key: Path | None = Field(default=None, description="file of the certificate's key")
    tls_client_ca: Path | None = Field(
        default=None, description="file of certificates that must have signed the clients' own (mutual TLS)"
    )
    insecure: bool = Field(
        default=False, description="listen beyond this machine without tokens or client certificates (true)"
    )
    transforms: list[dict[str, Any]] = Field(
        default=DEFAULT_TRANSFORMS,
        description="the transforms of plans that name none, as JSON; arrays have none unless you give some",
    )
    on_error: Policy = Field(
        default="replace",
        description="an image that cannot be decoded is replaced by a good one, or ends the stream (raise)",
    )
    replace_budget: float = Field(
        default=0.01, ge=0, le=1, description="share of an epoch that may be replaced before clients raise"
    )
    fingerprint: FingerprintMode = Field(
        default="names", description="what tells data apart: names and sizes, or the files' content too"
    )
    index_dir: Path | None = Field(
        default=None, description="folder where the indexes of folders of images are kept for the next start"
    )
    rescan: Rescan = Field(
        default="changed",
        description="when a folder with a kept index is scanned: a directory in it changed; always; never",
    )
    custom_transforms: dict[str, str] = Field(
        default={}, description='transforms of your own, by name, as "module:function"'
    )
    # One interpreter feeds a few cores; each process more has an interpreter of its own.
    processes: int = Field(
        default=1, ge=1, le=256, description="processes that serve on the one port; threads and memory stay totals"
    )
    # Decoding keeps a core busy; more threads than cores only add switches.
    decode_threads: int = Field(default=_cores(), ge=1, le=1024, description="threads that decode")
    # 100 ms a read at 2,500 images/s is 250 reads in flight.
    read_threads: int = Field(default=256, ge=1, le=4096, description="most reads in flight at once")
    memory_mb: int = Field(
        default=1024, ge=1, description="MiB for batches made and read ahead, beyond one batch reserved for each stream"
    )
    # Trainers of the same plan run a few batches apart.
    share_mb: int = Field(default=128, ge=0, description="MiB of finished batches kept for trainers of the same plan")
    cache_mb: int = Field(
        default=0, ge=0, description="MiB of images kept decoded for later epochs, up to the first random transform"
    )
    # At 100 ms a read, half of them are still waiting for the storage.
    queue_batches: int = Field(default=32, ge=1, le=4096, description="most batches that a stream works on ahead")
    max_streams: int = Field(default=1024, ge=1, description="streams open at once; more are told to come again")
    # Twice what a trainer's longest evaluation between two batches should take; it resumes when it wakes.
    stall_timeout: float = Field(
        default=120, gt=0, description="seconds that a client may take nothing before it is disconnected"
    )
    max_batch_mb: int = Field(default=256, ge=1, le=1024, description="MiB that one batch may have")
    max_megapixels: float = Field(default=100, gt=0, description="larger images are refused before they are decoded")
    max_file_mb: int = Field(default=256, ge=1, description="MiB; larger files are refused before they are read")
    read_retries: int = Field(default=3, ge=0, le=100, description="how often a failed read is tried again")
    # A disk that spins up takes ten seconds, a network storage that fails over half a minute.
    read_timeout: float = Field(default=60, gt=0, description="seconds that a read may take before its batch fails")
    ping_seconds: float = Field(default=5, gt=0, description="a waiting client hears from the server this often")
    grace_seconds: float = Field(default=10, ge=0, description="how long streams may take to end at shutdown")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least level logged")
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="auto is text on a terminal and JSON lines elsewhere"
    )

    @field_validator("data", "datasets", "tokens", "transforms", "custom_transforms", mode="before")
    @classmethod
    def _json_is_parsed(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        if not isinstance(value, str):
            return value
        if info.field_name == "data" and not value.lstrip().startswith("["):
            return [value]
        if info.field_name == "tokens" and not value.lstrip().startswith("["):
            return value.splitlines()
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"expected JSON ({error})") from error

    @field_validator("transforms")
    @classmethod
    def _transforms_are_known(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return _checked(value)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        toml = settings_cls.model_config.get("toml_file")
        sources = (init_settings, env_settings)
        return sources if toml is None else (*sources, TomlConfigSettingsSource(settings_cls, cast(Path, toml)))

    @property
    def memory_bytes(self) -> int:
        return self.memory_mb * 2**20

    @property
    def max_batch_bytes(self) -> int:
        return self.max_batch_mb * 2**20

    @property
    def max_pixels(self) -> int:
        return int(self.max_megapixels * 1e6)

    @property
    def max_file_bytes(self) -> int:
        return self.max_file_mb * 2**20

    def check_exposure(self) -> None:
        """Raises ConfigurationError where others than this machine would reach data that anybody may read."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigurationError("tls_cert and tls_key go together, and one of them is not given")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ConfigurationError("tls_client_ca needs tls_cert and tls_key")
        asked = self.tokens or self.tokens_file is not None or self.tls_client_ca is not None
        if not (is_loopback(self.host) or asked or self.insecure):
            raise ConfigurationError(
                f"{self.host} is reached from other machines, and anybody there could read the data: give "
                "--tokens-file (or HEADRACE_TOKENS), or --tls-client-ca, or say --insecure true"
            )

    def share(self, number: int) -> Settings:
        """The options of process `number`: what is meant for all of them is divided, though never down to nothing."""
        totals = {name: getattr(self, name) for name in _TOTALS}
        parts = {name: (total + number) // self.processes for name, total in totals.items()}
        return self.model_copy(update={name: max(part, min(totals[name], 1)) for name, part in parts.items()})

    def all_datasets(self) -> dict[str, DatasetSettings]:
        """Every dataset by name, with the server's options where it has none of its own."""
        datasets: dict[str, DatasetSettings] = {}
        for entry in self.data:
            name, path = _name_and_path(entry)
            if name in datasets:
                raise ConfigurationError(f"two datasets are named {name!r}; name one of them otherwise, as NAME=PATH")
            datasets[name] = DatasetSettings(path=Path(path))
        for name, dataset in self.datasets.items():
            if name in datasets:
                raise ConfigurationError(f"the dataset {name!r} is given twice: as data and in the table of datasets")
            datasets[name] = dataset
        if not datasets:
            raise ConfigurationError("nothing to serve: name a folder of images, as in `headrace serve ./flowers`")
        inherited = ["on_error", "replace_budget", "fingerprint"]
        if "transforms" in self.model_fields_set:  # else it depends on what the dataset is
            inherited.append("transforms")
        return {
            name: dataset.model_copy(
                update={key: getattr(self, key) for key in inherited if getattr(dataset, key) is None}
            )
            for name, dataset in datasets.items()
        }


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_settings(options: dict[str, Any], config: Path | None = None) -> Settings:
    """The settings from `options` (the command line's), the environment and a file, in this order.

    Raises ConfigurationError in one line that names the option, what was found and what was expected.
    """
    if config is None and Path(CONFIG_FILE).is_file():
        config = Path(CONFIG_FILE)
    if config is not None and not config.is_file():
        raise ConfigurationError(f"there is no configuration file {config}")
    located = type(
        "Settings", (Settings,), {"model_config": SettingsConfigDict(toml_file=config), "__module__": __name__}
    )
    try:
        return cast(Settings, located(**options))
    except pydantic.ValidationError as error:
        raise ConfigurationError("; ".join(_sentence(item) for item in error.errors())) from error
    except ValueError as error:
        raise ConfigurationError(f"{config} is not TOML: {' '.join(str(error).split())}") from error


def _sentence(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        model = DatasetSettings if len(error["loc"]) > 1 else Settings
        return f"there is no option {where!r}; the options are {', '.join(model.model_fields)}"
    message = " ".join(error["msg"].removeprefix("Value error, ").split())
    return f"option {where}: {message}, found {found(error['input'])}"


def _checked(transforms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for transform in transforms:
        transform_from_json(transform)
    return transforms


def _name_and_path(entry: str) -> tuple[str, str]:
    name, separator, path = entry.partition("=")
    if separator and name and "/" not in name:
        return name, path
    return Path(entry).resolve().name, entry
