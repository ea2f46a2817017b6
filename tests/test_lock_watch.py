"""The benchmark's look at another process's interpreter lock sees how often it is held."""

from __future__ import annotations

import subprocess
import sys

import pytest
from benchmarks.lock_watch import held_share

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="other systems show no memory of a process"),
    pytest.mark.skipif(sys.version_info >= (3, 12), reason="newer Pythons keep their lock elsewhere"),
]


@pytest.mark.parametrize(
    ("deed", "least", "most"),
    [
        ("time.sleep(60)", 0.0, 0.05),
        ("\n while True: pass", 0.95, 1.0),
        ('hashlib.pbkdf2_hmac("sha256", b"a", b"b", 10**9)', 0.0, 0.2),
    ],
)
def test_it_sees_how_often_the_lock_is_held(deed: str, least: float, most: float) -> None:
    """Asleep, at work, and at work without the lock, which it needs for nothing."""
    script = f"import hashlib, time\nprint(flush=True)\nif True: {deed}"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            assert least <= held_share(process.pid, 0.5) <= most
        finally:
            process.kill()
