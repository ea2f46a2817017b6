"""`headrace serve` on storage that takes its time.

Words: the seconds that each read takes longer, the folder that this is so for, then serve's own. The process becomes
the server, with a library loaded before all others that makes opening a file take so long: see slow_files.c.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from headrace_server.native.library import compiler

_SOURCE = Path(__file__).with_name("slow_files.c")
_LIBRARY = Path(__file__).parent.parent / "build" / "slow_files.so"


def slow_files() -> Path:
    """The library, compiled."""
    command = compiler()
    if command is None:
        raise SystemExit("no C compiler: one is needed to make reading files slow; set CC, or install gcc")
    _LIBRARY.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_LIBRARY.parent) as folder:  # others may do the same at this moment
        made = Path(folder) / _LIBRARY.name
        subprocess.run([*command, "-shared", "-fPIC", "-O2", str(_SOURCE), "-o", str(made), "-ldl"], check=True)
        made.replace(_LIBRARY)
    return _LIBRARY


def slow_environment(seconds: float, folder: Path) -> dict[str, str]:
    """Variables under which a process waits so long before it reads a file whose path begins like this."""
    return {
        "SLOW_SECONDS": str(seconds),
        "SLOW_FOLDER": str(folder.resolve()),
        "LD_PRELOAD": str(slow_files()),
    }


def main() -> None:
    seconds, folder, *words = sys.argv[1:]
    command = [sys.executable, "-m", "headrace", "serve", *words]
    os.execve(sys.executable, command, {**os.environ, **slow_environment(float(seconds), Path(folder))})


if __name__ == "__main__":
    main()
