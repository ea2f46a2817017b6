"""From URLs to servers: a name that stands for several addresses stands for as many servers."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import httpx

from .endpoint import ConnectOptions, Endpoint, is_proxied
from .errors import UsageError


def endpoints_of(urls: Sequence[str], options: ConnectOptions) -> list[Endpoint]:
    """A server for each URL, or for each address that its name has. Raises UsageError for what is no URL."""
    if not urls:
        raise UsageError("connect needs a URL, found an empty list")
    endpoints = []
    for url in dict.fromkeys(urls):
        endpoint = Endpoint(url, options)
        addresses = [] if is_proxied(endpoint.url) else addresses_of(endpoint.url)
        if len(addresses) > 1:
            endpoint.close()
            endpoints += [Endpoint(url, options, address) for address in addresses]
        else:
            endpoints.append(endpoint)
    return endpoints


def addresses_of(url: str) -> list[str]:
    """The addresses of a URL's host, of one family: one server often has one of each. None where it is unknown now."""
    parsed = httpx.URL(url)
    try:
        found = socket.getaddrinfo(parsed.host, parsed.port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    for family in (socket.AF_INET, socket.AF_INET6):
        addresses = sorted({str(place[0]) for kind, _, _, _, place in found if kind == family})
        if len(addresses) > 1:
            return addresses
    return []
