"""Where a run took place, and with which versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

from headrace_server.decode import engine

_PACKAGES = (
    "headrace", "numpy", "httpx", "uvicorn", "fastapi", "tensorflow-cpu", "tensorflow", "torch", "webdataset",
    "simplejpeg", "opencv-python-headless", "pillow",
)  # fmt: skip


def machine() -> dict[str, str]:
    """The processor, its cores, the memory and the system."""
    return {
        "processor": _first(Path("/proc/cpuinfo"), "model name"),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(_first(Path('/proc/meminfo'), 'MemTotal').split()[0]) / 2**20:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Of Python, of the packages that take part, and of the libraries that decode."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, "engine": engine()}


def _first(path: Path, field: str) -> str:
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return "unknown"
