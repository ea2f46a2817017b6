"""Who may read what: bearer tokens, each for some datasets."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from headrace_proto.checks import found

from .errors import ConfigurationError
from .problems import Problem

_LEAST_LENGTH = 16
_MOST_FAILURES, _WINDOW_SECONDS = 20, 60.0
"""Wrong tokens from one address before it has to wait."""
_REMEMBERED = 4096
"""Addresses whose failures are counted."""


@dataclass(frozen=True)
class Grant:
    """What a token allows: the datasets whose names match one of the patterns."""

    digest: bytes
    patterns: tuple[str, ...] = ("*",)

    @classmethod
    def parse(cls, line: str) -> Grant:
        """A line `TOKEN [PATTERN ...]`. Raises ConfigurationError, without the token in it."""
        token, *patterns = line.split()
        if len(token) < _LEAST_LENGTH or not token.isascii():
            raise ConfigurationError(
                f"a token has at least {_LEAST_LENGTH} ASCII characters, found one of {len(token)}; make one with "
                "`python -c 'import secrets; print(secrets.token_urlsafe())'`"
            )
        return cls(_digest(token), tuple(patterns) or ("*",))

    def allows(self, dataset: str) -> bool:
        return any(fnmatchcase(dataset, pattern) for pattern in self.patterns)

    def check(self, dataset: str) -> None:
        """Raises Problem (403), which does not say whether there is such a dataset."""
        if not self.allows(dataset):
            detail = f"this token is not for a dataset {found(dataset)}; ask the operator for one"
            raise Problem(403, "not allowed", detail)


EVERYTHING = Grant(b"")
"""What everybody may read where no tokens are asked for."""


class Access:
    """Checks tokens. Those that come wrong too often from one address are not looked at for a while."""

    def __init__(self, grants: Iterable[Grant], processes: int = 1) -> None:
        """Each of several processes bears its part of the wrong tokens, as connections are spread over them."""
        self._grants = list(grants)
        self._most_failures = max(1, _MOST_FAILURES // processes)
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    @property
    def open(self) -> bool:
        """Whether no tokens are asked for."""
        return not self._grants

    def grant(self, authorization: str, address: str) -> Grant:
        """What the header `Authorization` of a request allows. Raises Problem: 401, or 429 after too many failures."""
        if self.open:
            return EVERYTHING
        failures = self._recent(address)
        if len(failures) >= self._most_failures:
            seconds = max(1, round(failures[0] + _WINDOW_SECONDS - time.monotonic()))
            raise Problem(429, "too many wrong tokens", f"try again in {seconds} s", retry_after=seconds)
        scheme, _, token = authorization.partition(" ")
        found = self._find(_digest(token.strip())) if scheme.lower() == "bearer" else None
        if found is None:
            if authorization:  # asking without a token guesses none
                failures.append(time.monotonic())
                self._remember(address, failures)
            detail = "wrong token" if authorization else "a token is needed"
            detail += ": send `Authorization: Bearer TOKEN`, in Python connect(token=)"
            raise Problem(401, "who are you?", detail)
        return found

    def _find(self, digest: bytes) -> Grant | None:
        """Looks at all of them, whichever fits, so that the time taken says nothing."""
        found = None
        for grant in self._grants:
            if hmac.compare_digest(grant.digest, digest):
                found = grant
        return found

    def _recent(self, address: str) -> list[float]:
        since = time.monotonic() - _WINDOW_SECONDS
        return [moment for moment in self._failures.get(address, ()) if moment > since]

    def _remember(self, address: str, failures: list[float]) -> None:
        self._failures[address] = failures
        self._failures.move_to_end(address)
        while len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)


def read_grants(lines: Iterable[str], file: Path | None) -> list[Grant]:
    """The grants of `lines` and of a file with one on each line. Raises ConfigurationError."""
    texts = list(lines)
    if file is not None:
        try:
            texts += file.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"cannot read the tokens in {file}: {error}") from error
    grants = [Grant.parse(text) for text in map(str.strip, texts) if text and not text.startswith("#")]
    if file is not None and not grants:
        raise ConfigurationError(f"{file} holds no tokens; write one on each line, as TOKEN [DATASET-PATTERN ...]")
    return grants


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
