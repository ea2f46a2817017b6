"""One server: its requests, and its errors as this package's own."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import urllib.request
import uuid
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from headrace_proto import checks, frame
from headrace_proto.plan import Plan, PlanInfo
from headrace_proto.version import __version__

from .errors import (
    ConnectionFailed,
    DataChanged,
    HeadraceError,
    NotHeadrace,
    PlanRefused,
    RequestRefused,
    ServiceError,
    Unauthorized,
    UsageError,
    VersionMismatch,
    one_line,
)
from .transport import DirectTransport

HTTPX_ERRORS = (httpx.HTTPError, httpx.InvalidURL)
"""What a request may raise that is the server's fault, the network's or the address's."""
_IDENTITY_SECONDS = 5.0
"""How long a server may take to say what it is: far less than it may take for data."""
_LONGEST_RETRY_AFTER = 60.0
_MOST_BYTES = 64 * 2**20
"""Of an answer that is no stream: a hundred thousand classes take a twentieth of it."""
_IDENTITY_PATH, _READY_PATH = "/v1/datasets", "/readyz"


@dataclass(frozen=True)
class ConnectOptions:
    """How to reach servers. Seconds throughout."""

    token: str | None = None
    wait: float = 300.0
    connect_timeout: float = 5.0
    # A server sends a ping every 5 seconds; one that is silent for so long is dead or cut off.
    read_timeout: float = 30.0
    retry_timeout: float = 300.0
    """How long a running stream may be without a batch while servers are tried again."""
    stall_timeout: float = 120.0
    """How long a server may send pings and no batch before another is tried."""
    ca: str | None = None
    """A file of certificates to trust in place of the system's."""
    cert: tuple[str, str] | None = None
    """The client's own certificate and its key, two files."""


class Endpoint:
    """One server at one URL, and at one address. Safe to use from many threads; not from two processes."""

    def __init__(self, url: str, options: ConnectOptions, address: str | None = None) -> None:
        """`address` is the one to connect to, where the URL's host has several."""
        self.url = _checked_url(url)
        self.name = self.url if address is None else f"{self.url} ({address})"
        self.options, self.address = options, address
        headers = {
            "Accept-Encoding": "identity",
            "User-Agent": f"headrace/{__version__}",
            "Headrace-Client": uuid.uuid4().hex,
        }
        if options.token is not None:
            headers["Authorization"] = f"Bearer {options.token}"
        context = _ssl_context(options) if self.url.startswith("https:") else None
        transport = None if is_proxied(self.url) else DirectTransport(context, address)
        timeout = httpx.Timeout(options.read_timeout, connect=options.connect_timeout)
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=timeout, transport=transport, verify=context or True
        )
        # Also where nobody closes it: a socket that is left open warns.
        self.close = weakref.finalize(self, self._http.close)

    def datasets(self) -> list[dict[str, Any]]:
        """What the server serves, as JSON data."""
        found = self._json("GET", "/v1/datasets").get("datasets")
        if not isinstance(found, list):
            raise NotHeadrace(f"{self.name} answers GET /v1/datasets without a list of datasets")
        return found

    def post_plan(self, plan: Plan) -> PlanInfo:
        """The server's answer to a plan. Raises PlanRefused, saying what the server has."""
        try:
            return PlanInfo.from_json(self._json("POST", "/v1/plans", json=plan.to_json()))
        except RequestRefused as error:
            if error.status in (404, 422):
                raise PlanRefused(str(error)) from error
            raise
        except ValueError as error:
            raise NotHeadrace(f"{self.name}: {error}") from error

    def surely_post_plan(self, plan: Plan) -> PlanInfo:
        """The answer to a plan that comes two times. Raises ConnectionFailed where they differ."""
        answers: list[PlanInfo | HeadraceError] = []
        for _ in range(2):
            try:
                answers.append(self.post_plan(plan))
            except (PlanRefused, RequestRefused, Unauthorized) as error:
                answers.append(error)
        one, other = answers
        if isinstance(one, HeadraceError) and isinstance(other, HeadraceError):
            raise other
        if isinstance(other, HeadraceError) or one != other:
            raise ConnectionFailed(f"{self.name} gave two answers to one plan: one was damaged on the way")
        return other

    def expect_plan(self, plan: Plan, expected: PlanInfo) -> None:
        """Posts a plan again. Raises DataChanged where its batches would not be those of the first answer."""
        if self._difference(plan, expected) and (found := self._difference(plan, expected)):  # one may be damaged
            raise DataChanged(found)

    def _difference(self, plan: Plan, expected: PlanInfo) -> str | None:
        try:
            info = self.post_plan(plan)
        except PlanRefused as error:
            return f"{self.name} takes a plan no more that was taken elsewhere or before: {error}"
        if info.id != expected.id:
            return (
                f"{self.name} serves other data: the plan's id is {info.id}, elsewhere or before {expected.id}; "
                "begin anew, or load the saved state with allow_changed=True"
            )
        if info.engine != expected.engine:
            return (
                f"{self.name} decodes with {checks.found(info.engine)}, elsewhere or before with {expected.engine}: "
                "two decoders are not mixed in one run; install the same releases on all servers"
            )
        return None

    @contextlib.contextmanager
    def open(self, path: str, **query: Any) -> Iterator[httpx.Response]:
        """A response whose body is read as it comes."""
        parameters = {name: value for name, value in query.items() if value is not None}
        with self.mapped_errors(), self._http.stream("GET", path, params=parameters) as response:
            if response.status_code != 200:
                self._raise_refusal(self._whole(response))
            yield response

    @contextlib.contextmanager
    def mapped_errors(self) -> Iterator[None]:
        """httpx's errors as this package's."""
        try:
            yield
        except HTTPX_ERRORS as error:
            raise self.failure(error) from error

    def failure(self, error: Exception) -> ConnectionFailed:
        """One of HTTPX_ERRORS as this package's."""
        reason = one_line(error) or type(error).__name__
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
            if isinstance(error.__cause__, ssl.SSLError):
                return ConnectionFailed(
                    f"no secure connection to {self.name}: {reason}; does it speak https, and are ca= and cert= right?"
                )
            return ConnectionFailed(f"no server answers at {self.name}: {reason}; is `headrace serve` running?")
        if isinstance(error, httpx.TimeoutException):
            return ConnectionFailed(f"{self.name} sent nothing for {self.options.read_timeout:g} s, not even a ping")
        if isinstance(error.__cause__, http.client.IncompleteRead):
            return ConnectionFailed(f"{self.name} went away in the middle of an answer")
        return ConnectionFailed(f"the connection to {self.name} broke: {reason}")

    def final(self, error: ServiceError) -> ServiceError | None:
        """What it comes to where something answers, so that waiting is in vain; None where it is not."""
        if isinstance(error, RequestRefused):
            return None if error.passing else error
        if not isinstance(error, ConnectionFailed):
            return error
        cause = error.__cause__
        if isinstance(cause, httpx.RemoteProtocolError):
            strange = NotHeadrace(f"{self.name} answers, but it is no headrace server: {one_line(cause)}")
            strange.__cause__ = error
            return strange
        return error if cause is not None and isinstance(cause.__cause__, ssl.SSLError) else None

    def check_identity(self) -> None:
        """Raises where it is no headrace server that this client can talk to, or is not up."""
        self._check(self._identity(_IDENTITY_PATH))

    def check_ready(self) -> None:
        """Raises, as `check_identity` does, also where it takes no streams now."""
        self._check(self._identity(_READY_PATH))

    def _check(self, found: dict[str, Any]) -> None:
        if found.get("service") != "headrace":
            raise NotHeadrace(f"{self.name} answers, but it is no headrace server")
        if found.get("protocol") != frame.PROTOCOL:
            raise VersionMismatch(
                f"{self.name} runs headrace {one_line(found.get('version'))} with protocol "
                f"{checks.found(found.get('protocol'))}; this client "
                f"is {__version__} with protocol {frame.PROTOCOL}: install the same release on both sides"
            )

    def _identity(self, path: str) -> dict[str, Any]:
        seconds = min(_IDENTITY_SECONDS, self.options.read_timeout)
        timeout = httpx.Timeout(seconds, connect=self.options.connect_timeout)
        try:
            return self._json("GET", path, timeout=timeout)
        except ConnectionFailed as error:
            if isinstance(error.__cause__, httpx.ReadTimeout):
                raise ConnectionFailed(
                    f"something accepts connections at {self.name} but does not answer like a headrace server: it sent "
                    f"nothing for {seconds:g} s"
                ) from error.__cause__
            raise

    def _json(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        with self.mapped_errors(), self._http.stream(method, path, **more) as answer:
            response = self._whole(answer)
        if response.status_code != 200:
            self._raise_refusal(response)
        try:
            data = response.json()
        except (ValueError, RecursionError) as error:
            raise NotHeadrace(f"{self.name} answers, but it is no headrace server: no JSON at {path}") from error
        if not isinstance(data, dict):
            raise NotHeadrace(f"{self.name} answers, but it is no headrace server: found {checks.found(data)}")
        return data

    def _whole(self, response: httpx.Response) -> httpx.Response:
        """A response with all that it says, read and unpacked."""
        content = bytearray()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > _MOST_BYTES:
                most = f"{_MOST_BYTES // 2**20} MiB"
                raise NotHeadrace(f"{self.name} answers with more than {most}, where a short text is expected")
        kept = {name: value for name, value in response.headers.items() if name in ("content-type", "retry-after")}
        return httpx.Response(response.status_code, headers=kept, content=bytes(content), request=response.request)

    def _raise_refusal(self, response: httpx.Response) -> None:
        """Raises what a response other than 200 means."""
        status = response.status_code
        if status in (401, 403):
            raise Unauthorized(f"{self.name} refuses access ({status}): {_detail(response) or 'check the token'}")
        problem = _problem(response)
        path, prefix = response.request.url.path, httpx.URL(self.url).path.rstrip("/")
        if status == 404 and prefix and path == prefix + _IDENTITY_PATH:
            raise NotHeadrace(
                f"{self.name} has the path {prefix}, and no headrace server was found below it: {path} answers 404; "
                "try the URL without the path"
            )
        refused = RequestRefused(
            f"{self.name}: {_detail(response) or f'status {status}'}",
            status,
            _code(problem or {}),
            _retry_after(response),
        )
        if problem is None and not refused.passing:
            raise NotHeadrace(f"{self.name} answers {path} with {status} and is no headrace server")
        raise refused


def _code(problem: dict[str, Any]) -> str | None:
    code = problem.get("code")
    return code if isinstance(code, str) else None


def _retry_after(response: httpx.Response) -> float:
    text = response.headers.get("retry-after", "")
    return min(float(text), _LONGEST_RETRY_AFTER) if text.isdigit() else 0.0


def _problem(response: httpx.Response) -> dict[str, Any] | None:
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return None
    try:
        problem = json.loads(response.content)
    except (ValueError, RecursionError):
        return None
    return problem if isinstance(problem, dict) else None


def _detail(response: httpx.Response) -> str:
    return one_line((_problem(response) or {}).get("detail", ""))


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageError(f"{url!r} is no URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host or not 0 < (parsed.port or 80) < 2**16:
        raise UsageError(f"a server's URL looks like http://storage:8000, found {url!r}")
    return url.rstrip("/")


def _ssl_context(options: ConnectOptions) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.ca)
        if options.cert is not None:
            context.load_cert_chain(*options.cert)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(f"cannot load the certificates ca={options.ca!r}, cert={options.cert!r}: {error}") from error
    return context


def is_proxied(url: str) -> bool:
    """Whether the environment sends requests to `url` through a proxy."""
    parsed = httpx.URL(url)
    proxies = urllib.request.getproxies()
    return bool(proxies.keys() & {parsed.scheme, "all"}) and not urllib.request.proxy_bypass(parsed.host)
