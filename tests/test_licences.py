"""The licences of what the server's image holds, and the audit, which must not take silence for a clean bill."""

from __future__ import annotations

import json
import platform
import runpy
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from PIL import features

ROOT = Path(__file__).parent.parent
# Run and not imported: docker/ is no package, and gets no bytecode of theirs.
LICENCES = runpy.run_path(str(ROOT / "docker" / "licences.py"))
AUDIT = runpy.run_path(str(ROOT / "docker" / "audit.py"))

of_the_image = pytest.mark.skipif(
    LICENCES["base"]()[1] != f"{sys.version_info.major}.{sys.version_info.minor}"
    or (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="docs/licences.md is of the image's version of Python, on x86-64 Linux",
)


@of_the_image
def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "licences.md").read_text() == LICENCES["page"](LICENCES["held"]()), "run `make licences`"


@of_the_image
def test_what_the_image_holds_is_pinned_at_the_versions_that_the_page_tells() -> None:
    assert LICENCES["unpinned"](LICENCES["held"]()) == []


def test_every_licence_is_on_a_list_that_of_each_library_in_a_wheel_too() -> None:
    assert LICENCES["unlisted"](LICENCES["held"]()) == []


def test_the_image_holds_the_server_s_packages_and_the_client_s_and_none_for_development() -> None:
    names = {each.name for each in LICENCES["held"]()}
    assert {"fastapi", "starlette", "uvloop", "numpy", "opencv-python-headless", "httpx", "certifi"} <= names
    assert not names & {"headrace", "pytest", "ruff", "tensorflow-cpu", "torch", "scikit-learn", "pip"}


@pytest.mark.parametrize(
    ("expression", "refused"),
    [
        ("MIT", []),
        ("BSD-3-Clause AND 0BSD AND MIT", []),
        ("GPL-3.0-only OR Apache-2.0", []),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", []),
        ("GPL-3.0-or-later WITH GCC-exception-3.1", []),
        ("GPL-3.0-or-later", ["GPL-3.0-or-later"]),
        ("MIT AND AGPL-3.0-only", ["AGPL-3.0-only"]),
        ("GPL-2.0-only OR GPL-3.0-only", ["GPL-2.0-only"]),
        ("unknown", ["unknown"]),
    ],
)
def test_a_licence_on_no_list_is_refused_unless_it_is_one_to_choose_from(expression: str, refused: list[str]) -> None:
    assert LICENCES["refused"](expression) == refused


def test_a_library_that_nobody_has_looked_up_is_refused() -> None:
    held = LICENCES["Held"]("pillow", "13.0.0", "MIT-CMU", ["libimagequant-0123abcd.so.0"], {"part": "GPL-3.0-only"})
    assert LICENCES["unlisted"]([held]) == [
        "part of pillow: GPL-3.0-only is on no list",
        "libimagequant-0123abcd.so.0 of pillow: unknown is on no list",
    ]


def test_pillow_comes_without_the_optional_part_that_is_under_the_gpl() -> None:
    """Its bill of materials names libimagequant as optional, so the table cannot tell."""
    assert not features.check("libimagequant")


def test_headrace_itself_is_installed_with_its_licence() -> None:
    texts = [path.read_text() for path in metadata.files("headrace") or [] if path.name == "LICENSE"]
    assert texts == [(ROOT / "LICENSE").read_text()]


ASKED = ["pillow==13.0.0", "numpy==2.4.6", AUDIT["CANARY"]]
CANARY = {"name": "django", "version": "1.8", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.0"]}]}


def clean(name: str) -> dict[str, Any]:
    return {"name": name, "version": "1", "vulns": []}


def skipped(name: str) -> dict[str, Any]:
    return {"name": name, "skip_reason": f"{name} was not found"}


FLAWED = {"name": "pillow", "version": "13.0.0", "vulns": [{"id": "PYSEC-2", "fix_versions": ["13.0.1"]}]}


@pytest.mark.parametrize(
    ("answers", "status", "told"),
    [
        ([clean("pillow"), clean("numpy"), CANARY], 0, "2 distributions audited, 0 known vulnerabilities"),
        ([FLAWED, clean("numpy"), CANARY], 1, "pillow 13.0.0: PYSEC-2, fixed in 13.0.1"),
        ([FLAWED, skipped("numpy"), CANARY], 2, "not audited: numpy was not found"),
        ([FLAWED, skipped("numpy"), CANARY], 2, "pillow 13.0.0: PYSEC-2, fixed in 13.0.1"),
        ([clean("pillow"), CANARY], 2, "1 of 2 distributions audited"),
        ([skipped("pillow"), skipped("numpy"), skipped("django")], 2, "(django was not found)"),
        (
            [clean("pillow"), clean("numpy"), clean("django")],
            2,
            "no vulnerability data is reached from here (nothing is known against django",
        ),
    ],
)
def test_an_audit_succeeds_only_if_all_was_looked_up_where_vulnerabilities_are_known(
    answers: list[dict[str, Any]], status: int, told: str
) -> None:
    result, lines = AUDIT["verdict"](ASKED, json.dumps({"dependencies": answers}), "")
    assert result == status
    assert told in "\n".join(lines)


def test_an_audit_without_an_answer_fails_in_one_line() -> None:
    assert AUDIT["verdict"](ASKED, "", "Traceback ...\nConnectionError: no route") == (
        2,
        ["not audited: no vulnerability data is reached from here (ConnectionError: no route)"],
    )
