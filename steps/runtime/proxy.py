"""The proxy for a source, from the environment: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY.

For every client without its own proxy support: the SOAP API, the disks of ESXi and Glance, and OVAs.
The rules are those of `requests`, which calls OpenStack's REST APIs: lower case takes precedence. An
entry of NO_PROXY is a name (its sub-domains count too), an address, a network, one with a port, or `*`.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from steps.model.contract import Exit, StepError

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Proxy:
    """A forward proxy that is reached over plain HTTP."""

    host: str
    port: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Headers for the proxy only: its login, if the address has one."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class ProxyError(OSError):
    """The proxy does not answer, or rejects a request."""


def use(http: str, https: str, no_proxy: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Let this process use these proxies, instead of those of the environment; empty texts are no proxy.

    All clients of sources read the environment, also those of other packages.
    """
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        environment.pop(name, None)
        environment.pop(name.upper(), None)
    given = {"http_proxy": http, "https_proxy": https, "no_proxy": no_proxy}
    environment.update({name: value for name, value in given.items() if value})


def for_url(url: str, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """The proxy for a URL; None for a direct connection.

    Raises:
        StepError: INVALID, for a proxy with another scheme than http.
    """
    parts = urlsplit(url)
    address = _value(environment, f"{parts.scheme}_proxy") or _value(environment, "all_proxy")
    if parts.scheme not in _PORTS or not address or _is_exempt(parts, _value(environment, "no_proxy")):
        return None
    proxy = _parse_proxy(address if "://" in address else f"http://{address}")
    if proxy is None:
        # Nothing of it is shown: a sign in a password that is not encoded takes it to another place.
        raise StepError(
            Exit.INVALID,
            f"the proxy of {parts.scheme.upper()}_PROXY cannot be used",
            "it is not of the form http://HOST:PORT or http://USER:PASSWORD@HOST:PORT",
            "correct the variable (/, # and ? of a password are %2F, %23 and %3F), or exempt the source in"
            " NO_PROXY",
        )
    return proxy


def _value(environment: Mapping[str, str], name: str) -> str:
    return (environment.get(name) or environment.get(name.upper()) or "").strip()


def _parse_proxy(address: str) -> Proxy | None:
    """The proxy of a URL; None where it is none that can be used."""
    try:
        parts = urlsplit(address)
        port = 80 if parts.port is None else parts.port
    except ValueError:
        return None
    rest = parts.path.removeprefix("/") or parts.query or parts.fragment
    host = parts.hostname or ""
    if parts.scheme != "http" or not re.fullmatch(r"[^\s/]+", host) or not port or rest:
        return None
    return Proxy(host, port, _login_headers(parts))


def _login_headers(parts: SplitResult) -> dict[str, str]:
    if parts.username is None:
        return {}
    text = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def _is_exempt(parts: SplitResult, exempt: str) -> bool:
    host, port = (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0)
    return any(
        _entry_matches(entry.strip().lower(), host, port) for entry in exempt.split(",") if entry.strip()
    )


def _entry_matches(entry: str, host: str, port: int) -> bool:
    if entry == "*" or _covers(entry, host):
        return True
    name, _, entry_port = entry.rpartition(":")
    if name and entry_port.isdecimal() and "]" not in entry_port:
        entry, same_port = name.strip("[]"), int(entry_port) == port
    else:
        same_port = True
        entry = entry.strip("[]")  # an IPv6 address as URLs have it
    entry = entry.removeprefix("*").lstrip(".")
    return same_port and (host == entry or _covers(entry, host) or host.endswith(f".{entry}"))


def _covers(entry: str, host: str) -> bool:
    """Whether an address or a network covers the host, which is an address."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    return False
