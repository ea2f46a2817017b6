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


def looked_up_again(endpoints: Sequence[Endpoint], up: Sequence[Endpoint]) -> list[Endpoint]:
    """The servers that the names of these have now; those that are up stay, whatever their name says.

    Only of names that had several addresses: a single one is looked up with every connection.
    """
    found: list[Endpoint] = []
    for url in dict.fromkeys(endpoint.url for endpoint in endpoints):
        known = {endpoint.address: endpoint for endpoint in endpoints if endpoint.url == url}
        addresses = addresses_of(url) if None not in known else []
        if not addresses:  # or the look-up failed
            found += known.values()
            continue
        options = next(iter(known.values())).options
        found += [endpoint for endpoint in known.values() if endpoint.address in addresses or endpoint in up]
        found += [Endpoint(url, options, address) for address in addresses if address not in known]
    return found


def addresses_of(url: str) -> list[str]:
    """The addresses of a URL's host, of one family: one server often has one of each. None where it is unknown now."""
    parsed = httpx.URL(url)
    try:
        found = socket.getaddrinfo(parsed.host, parsed.port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    families = [
        sorted({str(place[0]) for kind, _, _, _, place in found if kind == family})
        for family in (socket.AF_INET, socket.AF_INET6)
    ]
    return max(families, key=len)
