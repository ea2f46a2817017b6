"""Compiles what is in C into the wheel, where there is a compiler; elsewhere the wheel does without."""

from __future__ import annotations

import importlib.util
import platform
import subprocess
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = "server/headrace_server/native"


class NativeBuildHook(BuildHookInterface[Any]):
    """Puts the library beside its sources, so that an editable install finds it too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        library = _library_module(Path(self.root))
        library.LIBRARY.unlink(missing_ok=True)  # one from another machine would do harm
        command = library.compiler()
        if command is None:
            self.app.display_warning("no C compiler: making images smaller will be several times slower")
            return
        try:
            library.compile_library(command, library.LIBRARY)
        except subprocess.CalledProcessError as error:
            self.app.display_warning(
                f"{command} failed: making images smaller will be several times slower\n{error.stderr}"
            )
            return
        build_data["artifacts"].append(f"{NATIVE}/{library.LIBRARY.name}")
        build_data["pure_python"] = False
        # Loaded by ctypes, it depends on the platform, but on no version of Python.
        build_data["tag"] = f"py3-none-{_platform()}"


def _library_module(root: Path) -> ModuleType:
    """`headrace_server.native.library`, by its path: the package itself cannot be imported in the build."""
    spec = importlib.util.spec_from_file_location("library", root / NATIVE / "library.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{root / NATIVE / 'library.py'} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _platform() -> str:
    """The platform's tag. A compiler makes code for its own processor only, even where Python has code for two."""
    name = sysconfig.get_platform().replace("universal2", platform.machine())
    return name.replace("-", "_").replace(".", "_")
