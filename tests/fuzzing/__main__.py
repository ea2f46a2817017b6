"""Fuzzes one target; see the package."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from fuzzing import codes, decoding, eighths, frames, plans, resampling
from fuzzing.runner import Recorder, fuzz, recorded

TARGETS = {
    "codes": codes.target,
    "decode": decoding.target,
    "eighth": eighths.target,
    "frames": frames.target,
    "plan": plans.target,
    "resample": resampling.target,
}


def main(words: list[str]) -> None:
    name, *rest = words
    with TARGETS[name]() as target:
        if len(rest) == 1:
            target, rest = replace(target, first=(target.first[0], recorded(Path(rest[0])))), ["0", "0"]
        seconds, seed = float(rest[0]), int(rest[1])
        path = Path(tempfile.mkdtemp(prefix="headrace-fuzzing-")) / f"{name}-{seed}.input"
        sys.stderr.write(f"should this fail: python -m fuzzing {name} {path}\n")
        report = fuzz(target, seconds, seed, Recorder(path))
    path.unlink()
    path.parent.rmdir()
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in report.outcomes.most_common())
    sys.stdout.write(
        f"{name} (seed {seed}): {report.inputs} inputs ({outcomes}), {report.gained_mib:.0f} of at most "
        f"{target.most_mib} MiB gained, the slowest took {report.slowest:.2f} s\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
