"""Asks pip-audit about what the server's image holds, and takes no answer for one: not to be audited is to fail.

    python docker/audit.py PINS [OPTION OF PIP-AUDIT ...]

PINS is what `licences.py --pins` prints. It exits 0 if nothing is known against any of them, 1 if something is, and 2
if that could not be found out. It runs where pip-audit is installed, with the standard library.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CANARY = "django==1.8"
"""A release with many known vulnerabilities. Who knows none of it has no data, whatever they say of the rest."""
NO_DATA = "not audited: no vulnerability data is reached from here"


def main() -> int:
    pins, *options = sys.argv[1:]
    asked = [*Path(pins).read_text().split(), CANARY]
    report, said = pip_audit(asked, options)
    status, lines = verdict(asked, report, said)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return status


def pip_audit(asked: list[str], options: list[str]) -> tuple[str, str]:
    """Its report, empty if it made none, and what it said beside that. It installs nothing: all is pinned."""
    options = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off", *options]
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "pins.txt")
        listed.write_text("\n".join(asked))
        words = [sys.executable, "-m", "pip_audit", "--requirement", str(listed), *options]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout, done.stderr


def verdict(asked: list[str], report: str, said: str) -> tuple[int, list[str]]:
    """The exit status, and what to print."""
    try:
        answers: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except ValueError:
        last = (said.strip().splitlines() or ["it said nothing"])[-1]
        return 2, [f"{NO_DATA} ({last})"]
    by_name = {each["name"]: each for each in answers}
    canary = by_name.pop(CANARY.partition("==")[0], {})
    found = [
        f"{name} {each['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'no release'}"
        for name, each in by_name.items()
        for flaw in each.get("vulns", [])
    ]
    if not canary.get("vulns"):
        why = canary.get("skip_reason", f"nothing is known against {CANARY}, which has many")
        return 2, [*found, f"{NO_DATA} ({why})"]
    skipped = [f"not audited: {each['skip_reason']}" for each in by_name.values() if "vulns" not in each]
    if skipped or len(answers) < len(asked):
        return 2, [*found, *skipped, f"{len(answers) - len(skipped) - 1} of {len(asked) - 1} distributions audited"]
    return (1 if found else 0), [*found, f"{len(by_name)} distributions audited, {len(found)} known vulnerabilities"]


if __name__ == "__main__":
    sys.exit(main())
