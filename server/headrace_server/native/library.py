"""The shared library that the sources in C are compiled to when headrace is installed.

Standard library only, since it also runs in the build, where there is nothing else.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

FOLDER = Path(__file__).parent
LIBRARY = FOLDER / "native.so"
"""Beside its sources, also in a checkout that is installed as editable; ignored by git."""
SOURCES = tuple(sorted(FOLDER.glob("*.c")))
FLAGS = ("-std=c11", "-O3", "-fPIC", "-shared", "-pthread", "-ffp-contract=off")
"""Any processor of its kind can run what comes out, and multiplications are not fused: weights must be Pillow's."""


def sources_digest() -> str:
    """A hash of the sources, which the library carries, so that one built from others is told apart."""
    digest = hashlib.sha256()
    for path in (*SOURCES, *sorted(FOLDER.glob("*.h"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def compiler() -> list[str] | None:
    """The command of a C compiler: what $CC names, Python's own, or one that is there. None without any."""
    named = (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang")
    commands = (shlex.split(command) for command in named if command)
    return next((command for command in commands if command and shutil.which(command[0])), None)


def compile_library(command: list[str], target: Path, *flags: str) -> None:
    """Raises subprocess.CalledProcessError, with what the compiler said in `stderr`."""
    definition = f'-DSOURCES="{sources_digest()}"'
    subprocess.run(
        [*command, *FLAGS, *flags, definition, "-o", str(target), *map(str, SOURCES)],
        check=True,
        capture_output=True,
        text=True,
    )
