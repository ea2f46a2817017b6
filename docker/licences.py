"""What the server's image holds of Python, and under which licences: docs/licences.md.

    python docker/licences.py           writes docs/licences.md; says what is wrong with it, and exits 1 then
    python docker/licences.py --pins    prints the lines of constraints.txt for what the image holds

It looks at the environment that it runs in, which holds all that the image does, at the same versions, and more.
"""

from __future__ import annotations

import json
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "licences.md"

# A licence may be added if its text was read, and asks for no more than the lists that are here already.
PERMISSIVE = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-3-Clause-Open-MPI",
    "CC0-1.0",
    "FTL",
    "IJG",
    "MIT",
    "MIT-CMU",
    "MIT-Modern-Variant",
    "MIT-open-group",
    "OpenSSL",
    "PSF-2.0",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "X11",
    "Zlib",
    "libpng-2.0",
    "libtiff",
}
"""These ask for their text and a notice to be kept, which the wheels do: both lie in the image."""
WEAK_COPYLEFT = {
    "MPL-2.0": "it covers its own files alone, which are in the image as they were published",
    "LGPL-2.1-or-later": "a shared library in a file of its own, which can be replaced by another build",
    "GPL-3.0-or-later WITH GCC-exception-3.1": "the exception lets a compiled program have any licence",
}

SPDX = {"Apache 2.0": "Apache-2.0", "MIT License": "MIT"}
"""What distributions without a License-Expression call their licence."""

# By the name up to the first "-" or ".", since auditwheel adds a hash. From the texts that the wheels bring.
LIBRARIES = {
    "libXau": "MIT-open-group",
    "libaom": "BSD-2-Clause",
    "libavcodec": "LGPL-2.1-or-later",
    "libavformat": "LGPL-2.1-or-later",
    "libavif": "BSD-2-Clause",
    "libavutil": "LGPL-2.1-or-later",
    "libbrotlicommon": "MIT",
    "libbrotlidec": "MIT",
    "libcrypto": "OpenSSL",
    "libdrm": "MIT",
    "libfreetype": "FTL OR GPL-2.0-or-later",
    "libgfortran": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libharfbuzz": "MIT-Modern-Variant",
    "libjpeg": "IJG AND BSD-3-Clause AND Zlib",
    "liblcms2": "MIT",
    "liblzma": "0BSD",
    "libopenblasp": "BSD-3-Clause",
    "libopenjp2": "BSD-2-Clause",
    "libpng16": "libpng-2.0",
    "libquadmath": "LGPL-2.1-or-later",
    "libscipy_openblas64_": "BSD-3-Clause AND BSD-3-Clause-Open-MPI",
    "libsharpyuv": "BSD-3-Clause",
    "libssl": "OpenSSL",
    "libswresample": "LGPL-2.1-or-later",
    "libswscale": "LGPL-2.1-or-later",
    "libtiff": "libtiff",
    "libvpx": "BSD-3-Clause",
    "libwebp": "BSD-3-Clause",
    "libwebpdemux": "BSD-3-Clause",
    "libwebpmux": "BSD-3-Clause",
    "libxcb": "X11",
    "libzstd": "BSD-3-Clause OR GPL-2.0-only",
}


class Held(NamedTuple):
    name: str
    version: str
    licence: str
    libraries: list[str]
    """Names of the files in the wheel's folder `*.libs`."""
    declared: dict[str, str]
    """Licences of what the wheel's bills of materials say is compiled in, by name."""


def held() -> list[Held]:
    """What `pip install headrace[server]` installs beside headrace itself."""
    return [described(metadata.distribution(name)) for name in sorted(closure("headrace", {"server"}))]


def closure(name: str, extras: set[str]) -> set[str]:
    """The distributions that one asks for, and that they ask for, as far as the markers hold here."""
    found: set[tuple[str, str]] = set()
    waiting = {(name, extra) for extra in {"", *extras}}
    while waiting:
        found |= waiting
        waiting = {pair for each in waiting for pair in required(*each)} - found
    return {each for each, _ in found} - {name}


def required(name: str, extra: str) -> set[tuple[str, str]]:
    wanted = [Requirement(line) for line in metadata.requires(name) or []]
    return {
        (canonicalize_name(each.name), of_it)
        for each in wanted
        if each.marker is None or each.marker.evaluate({"extra": extra})
        for of_it in {"", *each.extras}
    }


def described(distribution: metadata.Distribution) -> Held:
    files = distribution.files or []
    libraries = sorted(path.name for path in files if path.parent.name.endswith(".libs"))
    declared: dict[str, str] = {}
    for path in files:
        if path.parent.name == "sboms":
            declared |= components(path.read_text())
    name = canonicalize_name(distribution.name)
    return Held(name, distribution.version, licence(distribution.metadata), libraries, declared)


def licence(fields: metadata.PackageMetadata) -> str:
    """As SPDX has it: an expression, or the older field unless it holds a whole text, or what the classifiers say."""
    for field in ("License-Expression", "License"):
        for value in fields.get_all(field) or []:
            if value and "\n" not in value:
                return SPDX.get(value, str(value))
    names = [line.split(" :: ")[-1] for line in fields.get_all("Classifier") or [] if line.startswith("License ::")]
    return " AND ".join(SPDX.get(name, name) for name in names) or "unknown"


def components(bill: str) -> dict[str, str]:
    """Of a bill of materials in CycloneDX's JSON. What is optional may or may not be in the wheel: it is left out."""
    return {
        each["name"]: " AND ".join(one.get("expression") or one["license"]["id"] for one in each["licenses"])
        for each in json.loads(bill)["components"]
        if each.get("licenses") and each.get("scope") != "optional"
    }


def library_licence(file: str) -> str:
    return LIBRARIES.get(re.split("[-.]", file)[0], "unknown")


def terms(expression: str) -> list[str]:
    """The licences to be kept to: of alternatives, a permissive one. Where they are nested, it may ask for too much."""
    choices = [re.split(r"\s+OR\s+", part) for part in re.split(r"\s+AND\s+", expression)]
    bare = [[choice.strip("() ") for choice in part] for part in choices]
    return [next((choice for choice in part if choice in PERMISSIVE), part[0]) for part in bare]


def refused(expression: str) -> list[str]:
    """The licences that are on neither list."""
    return [term for term in terms(expression) if term not in PERMISSIVE | WEAK_COPYLEFT.keys()]


def pins() -> dict[str, str]:
    """The lines of constraints.txt, by the name of the distribution."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {canonicalize_name(line.partition("==")[0]): line for line in lines if "==" in line}


def unpinned(distributions: list[Held]) -> list[str]:
    lines = pins()
    return [
        f"{each.name} {each.version} is installed, and constraints.txt has {lines.get(each.name, 'no line for it')}"
        for each in distributions
        if lines.get(each.name, "").partition("==")[2] != each.version
    ]


def unlisted(distributions: list[Held]) -> list[str]:
    found = []
    for each in distributions:
        used = {each.name: each.licence, **each.declared, **{file: library_licence(file) for file in each.libraries}}
        found += [f"{part} of {each.name}: {term} is on no list" for part in used for term in refused(used[part])]
    return found


HEADER = """\
# Licences

What the server's image holds, and under which licences. `make licences` writes this page from what the wheels say of
themselves, and a test says when it is out of date or when a licence is new. headrace itself is under Apache-2.0.

## The base

`{base}`: Debian, and Python (PSF-2.0) with a pip of its own (MIT), which the server's environment does
without. The image adds no Debian package. `dpkg --list` in it says which ones it has, and the licence of each is at
`/usr/share/doc/PACKAGE/copyright`; Python's is `LICENSE.txt` in its standard library's folder.

## Python distributions

In `/opt/headrace`, for CPython {python} on x86-64 Linux. The texts of the licences are in their folders `*.dist-info`.

| distribution | version | licence |
| --- | --- | --- |
"""
LIBRARIES_HEADER = """
## Shared libraries in their wheels

In folders `*.libs`. `make audit` asks about the wheels' own versions and knows none of these, such as OpenCV's build of
FFmpeg and the OpenSSL beside it. headrace gives OpenCV arrays alone, and no file or address to open.

| file | in | licence |
| --- | --- | --- |
"""
COMPILED_IN = """
## Compiled into their modules

So without a file of their own. From the bills of materials in the wheels:

{declared}

And from their licence texts alone:

- simplejpeg: libjpeg-turbo
- uvloop: libuv
- httptools: llhttp, http-parser
- opencv-python-headless: libjpeg-turbo, libwebp, libtiff, OpenJPEG, Protocol Buffers, FlatBuffers, MLAS, Intel IPP
- pillow: aom, dav1d, libyuv, bzip2, libXdmcp

All are permissive but Intel IPP, which is not open source: the Intel Simplified Software License lets one use it and
pass it on unchanged, and forbids to take it apart.

## Why these are allowed

Permissive licences ask for their text and a notice to be kept, and the wheels bring both. Of the others:

{weak}
"""


def base() -> tuple[str, str]:
    """The image that the server's is made on, and its version of Python."""
    recipe = (ROOT / "docker" / "server.Dockerfile").read_text()
    python, image = re.findall(r"^ARG PYTHON=(\S+)$|^FROM (\S+) AS runtime$", recipe, re.MULTILINE)
    return image[1].replace("${PYTHON}", python[0]), python[0]


def page(distributions: list[Held]) -> str:
    name, python = base()
    table = "".join(f"| {each.name} | {each.version} | {each.licence} |\n" for each in distributions)
    libraries = "".join(
        f"| `{file}` | {each.name} | {library_licence(file)} |\n" for each in distributions for file in each.libraries
    )
    declared = "\n".join(f"- {each.name}: {summary(each.declared)}" for each in distributions if each.declared)
    weak = "\n".join(f"- **{name}**: {reason}." for name, reason in WEAK_COPYLEFT.items())
    text = HEADER.format(base=name, python=python) + table + LIBRARIES_HEADER + libraries
    return text + COMPILED_IN.format(declared=declared, weak=weak)


def summary(declared: dict[str, str]) -> str:
    known = sorted({term for expression in declared.values() for term in terms(expression)})
    return f"{len(declared)} parts, under {', '.join(known)}"


def main() -> int:
    distributions = held()
    found = unpinned(distributions)
    if "--pins" in sys.argv[1:]:
        lines = pins()
        sys.stdout.write("".join(f"{lines[each.name]}\n" for each in distributions if each.name in lines))
    else:
        TABLE.write_text(page(distributions))
        found += unlisted(distributions)
    sys.stderr.write("".join(f"{problem}\n" for problem in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
