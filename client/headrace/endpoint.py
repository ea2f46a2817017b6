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
    NotHeadrace,
    PlanRefused,
    RequestRefused,
    Unauthorized,
    UsageError,
    VersionMismatch,
    one_line,
)
from .transport import DirectTransport

_IDENTITY_SECONDS = 5.0
"""How long a server may take to say what it is: far less than it may take for data."""
_IDENTITY_PATH = "/v1/datasets"


@dataclass(frozen=True)
class ConnectOptions:
    """How to reach servers. Seconds throughout."""

    token: str | None = None
    wait: float = 300.0
    connect_timeout: float = 5.0
    # A server sends a ping every 5 seconds; one that is silent for so long is dead or cut off.
    read_timeout: float = 30.0
    ca: str | None = None
    """A file of certificates to trust in place of the system's."""
    cert: tuple[str, str] | None = None
    """The client's own certificate and its key, two files."""


class Endpoint:
    """One server at one URL. Safe to use from many threads; not from two processes."""

    def __init__(self, url: str, options: ConnectOptions) -> None:
        self.url = _checked_url(url)
        self.options = options
        headers = {
            "Accept-Encoding": "identity",
            "User-Agent": f"headrace/{__version__}",
            "Headrace-Client": uuid.uuid4().hex,
        }
        if options.token is not None:
            headers["Authorization"] = f"Bearer {options.token}"
        context = _ssl_context(options) if self.url.startswith("https:") else None
        transport = None if _proxied(self.url) else DirectTransport(context)
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
            raise NotHeadrace(f"{self.url} answers GET /v1/datasets without a list of datasets")
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
            raise NotHeadrace(f"{self.url}: {error}") from error

    @contextlib.contextmanager
    def open(self, path: str, **query: Any) -> Iterator[httpx.Response]:
        """A response whose body is read as it comes."""
        parameters = {name: value for name, value in query.items() if value is not None}
        with self.mapped_errors(), self._http.stream("GET", path, params=parameters) as response:
            if response.status_code != 200:
                response.read()
                self._raise_refusal(response)
            yield response

    @contextlib.contextmanager
    def mapped_errors(self) -> Iterator[None]:
        """httpx's errors as this package's."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            reason = one_line(error) or type(error).__name__
            if isinstance(error.__cause__, ssl.SSLError):
                raise ConnectionFailed(
                    f"no secure connection to {self.url}: {reason}; does it speak https, and are ca= and cert= right?"
                ) from error
            raise ConnectionFailed(
                f"no server answers at {self.url}: {reason}; is `headrace serve` running?"
            ) from error
        except httpx.TimeoutException as error:
            seconds = self.options.read_timeout
            raise ConnectionFailed(f"{self.url} sent nothing for {seconds:g} s, not even a ping") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if isinstance(error.__cause__, http.client.IncompleteRead):
                raise ConnectionFailed(f"{self.url} went away in the middle of an answer") from error
            reason = one_line(error) or type(error).__name__
            raise ConnectionFailed(f"the connection to {self.url} broke: {reason}") from error

    def raise_if_final(self, error: ConnectionFailed | RequestRefused) -> None:
        """Raises where something answers, so that waiting is in vain."""
        if isinstance(error, RequestRefused):
            if error.status != 503:
                raise error
        elif isinstance(error.__cause__, httpx.RemoteProtocolError):
            raise NotHeadrace(
                f"{self.url} answers, but it is no headrace server: {one_line(error.__cause__)}"
            ) from error
        elif error.__cause__ is not None and isinstance(error.__cause__.__cause__, ssl.SSLError):
            raise error

    def check_identity(self) -> None:
        found = self._identity()
        if found.get("service") != "headrace":
            raise NotHeadrace(f"{self.url} answers, but it is no headrace server")
        if found.get("protocol") != frame.PROTOCOL:
            raise VersionMismatch(
                f"{self.url} runs headrace {found.get('version')} with protocol {found.get('protocol')}; this client "
                f"is {__version__} with protocol {frame.PROTOCOL}: install the same release on both sides"
            )

    def _identity(self) -> dict[str, Any]:
        seconds = min(_IDENTITY_SECONDS, self.options.read_timeout)
        timeout = httpx.Timeout(seconds, connect=self.options.connect_timeout)
        try:
            return self._json("GET", _IDENTITY_PATH, timeout=timeout)
        except ConnectionFailed as error:
            if isinstance(error.__cause__, httpx.ReadTimeout):
                raise ConnectionFailed(
                    f"something accepts connections at {self.url} but does not answer like a headrace server: it sent "
                    f"nothing for {seconds:g} s"
                ) from error.__cause__
            raise

    def _json(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        with self.mapped_errors():
            response = self._http.request(method, path, **more)
        if response.status_code != 200:
            self._raise_refusal(response)
        try:
            data = response.json()
        except (ValueError, RecursionError) as error:
            raise NotHeadrace(f"{self.url} answers, but it is no headrace server: no JSON at {path}") from error
        if not isinstance(data, dict):
            raise NotHeadrace(f"{self.url} answers, but it is no headrace server: found {checks.found(data)}")
        return data

    def _raise_refusal(self, response: httpx.Response) -> None:
        """Raises what a response other than 200 means."""
        status = response.status_code
        if status in (401, 403):
            raise Unauthorized(f"{self.url} refuses access ({status}): {_detail(response) or 'check the token'}")
        problem = _problem(response)
        path, prefix = response.request.url.path, httpx.URL(self.url).path.rstrip("/")
        if status == 404 and prefix and path == prefix + _IDENTITY_PATH:
            raise NotHeadrace(
                f"{self.url} has the path {prefix}, and no headrace server was found below it: {path} answers 404; "
                "try the URL without the path"
            )
        if problem is None and status != 503:
            raise NotHeadrace(f"{self.url} answers {path} with {status} and is no headrace server")
        raise RequestRefused(
            f"{self.url}: {_detail(response) or f'status {status}'}", status, (problem or {}).get("code")
        )


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


def _proxied(url: str) -> bool:
    """Whether the environment sends requests to `url` through a proxy."""
    parsed = httpx.URL(url)
    proxies = urllib.request.getproxies()
    return bool(proxies.keys() & {parsed.scheme, "all"}) and not urllib.request.proxy_bypass(parsed.host)
