"""HTTP as in a pod of the lab: names are resolved by the lab's name server, addresses are reached directly.

The lab routes pods and Services to the host, so the same Service, endpoints and pod answer. Errors have Go's
text with the whole URL, as Harvester quotes it.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import secrets
import socket
import ssl
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

SEARCH: Final = ("longhorn-system.svc.cluster.local", "svc.cluster.local", "cluster.local")
"""The search path of a pod in longhorn-system."""
DNS_SECONDS: Final = 2.0
MOST_REDIRECTS: Final = 10
NO_SUCH_NAME: Final = 3
A_RECORD: Final = 1


class WebError(Exception):
    """No answer; the text is Go's."""


@dataclass(frozen=True)
class Web:
    """A client. `nameserver`: its address; without one the host resolves names. `timeout` in seconds.

    `tls` has the CAs that it trusts: those of the system, and Harvester's setting `additional-ca`.
    """

    nameserver: str = ""
    timeout: float = 15.0
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    @contextlib.contextmanager
    def ask(
        self, method: str, url: str, headers: dict[str, str] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer, after redirects. Raises WebError."""
        prefix = f'{method.capitalize()} "{url}"'
        for _ in range(MOST_REDIRECTS):
            with contextlib.closing(self._connect(urlsplit(url), prefix)) as connection:
                answer = self._asked(connection, method, url, headers or {}, prefix)
                to = answer.headers.get("Location")
                if answer.status not in (301, 302, 303, 307, 308) or to is None:
                    yield answer
                    return
                url = urljoin(url, to)
        raise WebError(f"{prefix}: stopped after {MOST_REDIRECTS} redirects")

    def _asked(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        url: str,
        headers: dict[str, str],
        prefix: str,
    ) -> http.client.HTTPResponse:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = parts.netloc.rpartition("@")[2]
        try:
            connection.request(
                method, target, headers={"Host": host, "User-Agent": "Go-http-client/1.1", **headers}
            )
            return connection.getresponse()
        except TimeoutError:
            raise WebError(f"{prefix}: context deadline exceeded") from None
        except (OSError, http.client.HTTPException) as error:
            raise WebError(f"{prefix}: {_reason(error)}") from None

    def _connect(self, url: SplitResult, prefix: str) -> http.client.HTTPConnection:
        if url.scheme not in ("http", "https") or not url.hostname:
            raise WebError(f'{prefix}: unsupported protocol scheme "{url.scheme}"')
        port = url.port or {"http": 80, "https": 443}[url.scheme]
        address = self.address(url.hostname, prefix)
        try:
            wire = socket.create_connection((address, port), timeout=self.timeout)
            if url.scheme == "https":
                wire = self.tls.wrap_socket(wire, server_hostname=url.hostname)
        except OSError as error:
            raise WebError(f"{prefix}: dial tcp {address}:{port}: connect: {_reason(error)}") from None
        connection = http.client.HTTPConnection(url.hostname, port, timeout=self.timeout)
        connection.sock = wire
        return connection

    def address(self, host: str, prefix: str = "") -> str:
        """Its IPv4 address. Raises WebError."""
        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(host))
        try:
            if not self.nameserver:
                return str(socket.getaddrinfo(host, None, socket.AF_INET)[0][4][0])
            # ndots:5 as in a pod: every name of ours has fewer, so the search path comes first
            for name in (*(f"{host}.{suffix}" for suffix in SEARCH), host):
                if found := lookup(self.nameserver, name):
                    return found
        except OSError as error:
            raise WebError(f"{prefix}: dial tcp: lookup {host}: {_reason(error)}") from None
        raise WebError(f"{prefix}: dial tcp: lookup {host} on {self.nameserver}:53: no such host")


def _reason(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"tls: failed to verify certificate: x509: {error.verify_message}"
        case TimeoutError():
            return "i/o timeout"
        case http.client.RemoteDisconnected():
            return "EOF"
        case OSError(strerror=str(words)):
            return words.lower()
        case _:
            return str(error)


def lookup(nameserver: str, name: str) -> str:
    """The A record of a name; empty if there is none. Raises OSError if no server answers."""
    number = secrets.randbits(16)
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.rstrip(".").split("."))
    question = labels + b"\0" + struct.pack(">HH", A_RECORD, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.settimeout(DNS_SECONDS)
        wire.sendto(struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + question, (nameserver, 53))
        answer = wire.recv(4096)
    _, flags, _, count, *_ = struct.unpack(">HHHHHH", answer[:12])
    code = flags & 0xF
    if code not in (0, NO_SUCH_NAME):
        raise OSError(None, "server misbehaving")
    return _first_address(answer, 12 + len(question), count)


def _first_address(answer: bytes, at: int, count: int) -> str:
    for _ in range(count):
        at = _behind_name(answer, at)
        kind, _, _, length = struct.unpack(">HHIH", answer[at : at + 10])
        if kind == A_RECORD:
            return socket.inet_ntoa(answer[at + 10 : at + 14])
        at += 10 + length
    return ""


def _behind_name(answer: bytes, at: int) -> int:
    while length := answer[at]:
        if length >= 0xC0:  # a pointer to an earlier name
            return at + 2
        at += 1 + length
    return at + 1
