"""Fuzzing finds no crash, no hang and no memory past the bound; and would find them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing.__main__ import TARGETS
from fuzzing.runner import recorded
from harness import LONG, Record

HERE = Path(__file__).parent
SECONDS, SEEDS = (60, (1, 2, 3)) if LONG else (2, (0,))
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell how large a process was")
STARTING = 60
"""Seconds that a process may take beside its fuzzing, on a busy machine."""


def run(*words: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """In a process of its own, which may come to any end."""
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=seconds + STARTING, check=False)


@pytest.mark.timeout(len(SEEDS) * (SECONDS + STARTING))
@pytest.mark.parametrize("target", TARGETS)
def test_damaged_input_is_refused_or_good(target: str, record: Record) -> None:
    for seed in SEEDS:
        done = run("-m", "fuzzing", target, str(SECONDS), str(seed), seconds=SECONDS)
        assert done.returncode == 0, done.stderr[-3000:]
        record(done.stdout.strip())


BEGIN = """
import ctypes, sys, time
from pathlib import Path
from fuzzing import runner

def run(data):
    if data == b"bad":
        {deed}
    return "good"

runner.SECONDS_EACH = 0.5
target = runner.Target(lambda dice: dice.choice([b"good", b"bad"]), run, 64, first=(b"good",))
report = runner.fuzz(target, 1, 0, runner.Recorder(Path(sys.argv[1])))
print(report.inputs)
"""


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        ("raise ValueError('unforeseen')", "ValueError: unforeseen"),
        ("ctypes.string_at(0)", "Segmentation fault"),
        ("time.sleep(30)", "Timeout"),
        pytest.param("bytearray(100 * 2**20)", "BoundBroken", marks=ON_LINUX),
        pytest.param("bytearray(100 * 2**30)", "MemoryError", marks=ON_LINUX),
    ],
    ids=["an error", "a crash", "a hang", "memory past the bound", "memory without end"],
)
def test_what_breaks_a_promise_is_seen_and_its_input_kept(deed: str, said: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept.input"
    done = run("-c", BEGIN.format(deed=deed), str(kept), seconds=1)
    assert done.returncode != 0
    assert said in done.stderr
    assert recorded(kept) == b"bad"


def test_what_keeps_them_is_not(tmp_path: Path) -> None:
    done = run("-c", BEGIN.format(deed="bytearray(2**20)"), str(tmp_path / "kept.input"), seconds=1)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 100


def test_the_same_seed_makes_the_same_inputs() -> None:
    script = (
        "import hashlib, random; from fuzzing.__main__ import TARGETS\n"
        "for make_target in TARGETS.values():\n"
        "    with make_target() as target:\n"
        "        dice = random.Random(5); made = b''.join(target.make(dice) for _ in range(50))\n"
        "        print(hashlib.sha256(made).hexdigest())"
    )
    first, second = (run("-c", script, seconds=0) for _ in range(2))
    assert len(first.stdout.splitlines()) == len(TARGETS), first.stderr
    assert first.stdout == second.stdout
