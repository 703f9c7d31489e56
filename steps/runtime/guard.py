"""Keeps connections to a source out of the networks that an installation protects.

A person may give a source any address, and a source may redirect, or name hosts for its disks. The guard
judges the address of each connection when it is made, in every library of this process: Python reports each
`connect` to an audit hook (PEP 578, event `socket.connect`). So it does not help to let a name resolve to
another address after a check. The hook cannot be removed again.

There is no guard unless the environment asks for one; the chart does (`sourceNetwork`).
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from steps.model.contract import Exit, StepError
from steps.runtime import proxy

BLOCKED: Final = "VMFERRY_BLOCKED_NETWORKS"
"""Networks to refuse, with commas between them. If it is set, the guard is on, also when it is empty."""
ALLOWED: Final = "VMFERRY_ALLOWED_NETWORKS"
"""Exceptions; they take precedence."""
REDIRECT_HOSTS: Final = "VMFERRY_REDIRECT_HOSTS"
"""Hosts to which each source may redirect (`steps.runtime.redirects`), with commas between them."""
ALWAYS: Final = (
    *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
    *("::/128", "::1/128", "fe80::/10", "ff00::/8"),
    *("fd00:ec2::254/128", "fd20:ce::254/128", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),
)
"""Loopback, link-local, multicast and unspecified addresses, and the metadata services of clouds.

Most of these services have a link-local address. The last line has the others: AWS and Google with IPv6,
Alibaba, Azure, Oracle.
"""
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_API: Final = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Guard:
    """Which addresses may be connected to."""

    blocked: tuple[Network, ...]
    allowed: tuple[Network, ...]
    api: tuple[str, int] | None = None
    """The API server, which some steps call; its address is usually in a blocked network."""

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Self | None:
        """The guard that the environment asks for; None for none.

        Raises:
            StepError: INVALID, for a text that is not a list of networks.
        """
        if BLOCKED not in environment:
            return None
        host, port = (environment.get(name, "") for name in _API)
        return cls(
            blocked=(*map(ipaddress.ip_network, ALWAYS), *_networks(BLOCKED, environment)),
            allowed=tuple(_networks(ALLOWED, environment)),
            api=(host, int(port)) if host and port.isdecimal() else None,
        )

    def check(self, host: str, port: int) -> None:
        """Refuse an address, or a name that has such an address.

        Raises:
            StepError: INVALID. It is final: libraries take it for no failure of the network.
        """
        if self._is_api(host, port) or _is_proxy(host, port):
            return
        for address in _addresses(host):
            network = self._blocking(address)
            if network is not None:
                raise StepError(
                    Exit.INVALID,
                    f"cannot connect to {host}:{port}",
                    f"{address} is in {network}, and this installation does not allow sources there",
                    "use another address; an administrator of vmferry can allow it with the value "
                    "sourceNetwork.allowed",
                )

    def _is_api(self, host: str, port: int) -> bool:
        return self.api is not None and self.api[1] == port and host in _names(self.api[0])

    def _blocking(self, address: Address) -> Network | None:
        if any(address in network for network in self.allowed):
            return None
        return next((network for network in self.blocked if address in network), None)


def install(environment: Mapping[str, str] = os.environ) -> None:
    """Guard all later connections of this process, if the environment asks for it.

    Raises:
        StepError: INVALID, for a text that is not a list of networks.
    """
    guard = Guard.read(environment)
    if guard is not None:
        sys.addaudithook(hook(guard))


def hook(guard: Guard) -> Callable[[str, tuple[Any, ...]], None]:
    """The audit hook of a guard."""

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "socket.connect":
            return
        connection, address = arguments
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            guard.check(str(address[0]), int(address[1]))

    return audit


def check_requested(host: str, port: int, environment: Mapping[str, str] = os.environ) -> None:
    """Check a host that a proxy will connect to: the guard sees only the connection to the proxy.

    A name that does not resolve here is left to the proxy. Each client calls this for each request.

    Raises:
        StepError: INVALID.
    """
    guard = Guard.read(environment)
    if guard is not None:
        guard.check(host, port)


def _networks(name: str, environment: Mapping[str, str]) -> Iterator[Network]:
    for entry in environment.get(name, "").split(","):
        if not entry.strip():
            continue
        try:
            yield ipaddress.ip_network(entry.strip(), strict=False)
        except ValueError as error:
            raise StepError(
                Exit.INVALID,
                f"{name} is not a list of networks",
                str(error),
                "write networks such as 10.42.0.0/16",
            ) from None


def _is_proxy(host: str, port: int) -> bool:
    """Whether it is the address of the configured proxy, which may be in a blocked network."""
    return any(found.port == port and host in _names(found.host) for found in _proxies())


def _proxies() -> Iterator[proxy.Proxy]:
    for scheme in ("http", "https"):
        with contextlib.suppress(StepError):  # one that cannot be used; a source that needs it reports that
            # A name that no entry of NO_PROXY exempts, unless all are exempt.
            found = proxy.for_url(f"{scheme}://vmferry-source.invalid")
            if found is not None:
                yield found


def _names(host: str) -> set[str]:
    """A host and its addresses."""
    return {host, *map(str, _addresses(host))}


def _addresses(host: str) -> Iterator[Address]:
    """The addresses of a host; an IPv4 address inside an IPv6 address counts as itself."""
    with contextlib.suppress(ValueError):
        yield _plain(ipaddress.ip_address(host.partition("%")[0]))
        return
    with contextlib.suppress(OSError, UnicodeError):
        for *_, place in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
            yield _plain(ipaddress.ip_address(str(place[0]).partition("%")[0]))


def _plain(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv6Address):
        behind_nat64 = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
        return address.ipv4_mapped or address.sixtofour or behind_nat64 or address
    return address
