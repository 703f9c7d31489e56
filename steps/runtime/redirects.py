"""Decides whether a request to a source may follow a redirect.

A server must not choose alone to which hosts this process connects. A redirect may stay on the host of the
source. It may lead to another host if the source (`spec.redirectHosts`) or the installation
(`sourceNetwork.redirectHosts`) names that host. It never leads from https to http. It never takes
credentials to another origin. The guard (`steps.runtime.guard`) judges the address of each connection in
addition.

Hosts are restricted only if the environment asks for it; the chart does.
"""

from __future__ import annotations

import os
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from steps.model import hosts
from steps.model.contract import Exit, StepError
from steps.model.naming import shown
from steps.runtime.guard import REDIRECT_HOSTS

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

Origin = tuple[str, str, int]
"""Scheme, host and port (RFC 6454)."""


@dataclass(frozen=True)
class Redirects:
    """The redirects that one source may make."""

    home: str = ""
    """The URL of the source."""
    allowed: tuple[str, ...] | None = None
    """Entries for other hosts (`steps.model.hosts`). None: all hosts."""

    @classmethod
    def read(cls, home: str, named: Iterable[str], environment: Mapping[str, str] = os.environ) -> Self:
        """The rule for a source at the URL `home` that names the hosts in `named`.

        Raises:
            StepError: INVALID, for an entry of the environment that is not a host.
        """
        if REDIRECT_HOSTS not in environment:
            return cls(home)
        return cls(home, (*named, *_entries(environment[REDIRECT_HOSTS])))

    def check(self, before: str, after: str, what: str) -> None:
        """Refuse a redirect from the URL `before` to the URL `after`; `what` is the address for messages.

        Raises:
            StepError: INVALID, with the host and where to allow it.
        """
        scheme, host, _ = origin(after)
        if (origin(before)[0], scheme) == ("https", "http"):
            raise StepError(
                Exit.INVALID,
                f"{what} redirects to http",
                "the transfer would lose its encryption",
                "use a URL that stays on https",
            )
        if not self._allows(host):
            raise StepError(
                Exit.INVALID,
                f"{what} redirects to the host {shown(host)}",
                "redirects may lead only to the source's own host and to allowed hosts",
                "use the final URL, or add the host to spec.redirectHosts of the source; an administrator of "
                "vmferry can allow it for all sources with the value sourceNetwork.redirectHosts",
            )

    def _allows(self, host: str) -> bool:
        if self.allowed is None or host == origin(self.home)[1]:
            return True
        return any(hosts.matches(pattern, host) for pattern in self.allowed)


def origin(url: str) -> Origin:
    """The origin of an http or https URL.

    Raises:
        ValueError: it has another scheme, no host, or a port that is none.
    """
    parts = urlsplit(url)
    host = hosts.canonical(parts.hostname or "")
    if parts.scheme not in _DEFAULT_PORTS or not host:
        raise ValueError("it is not an http or https URL with a host")
    return parts.scheme, host, parts.port or _DEFAULT_PORTS[parts.scheme]


def keeps_credentials(home: str, url: str) -> bool:
    """Whether credentials for the origin of `home` may be sent to `url`.

    http and https of one host count as one origin if both use their default ports, in this direction only.
    """
    try:
        scheme, host, port = origin(home)
        target = origin(url)
    except ValueError:
        return False
    upgraded = ("https", host, 443) if (scheme, port) == ("http", 80) else None
    return target in ((scheme, host, port), upgraded)


def resolve(url: str, location: str, what: str) -> str:
    """The absolute URL of the header `Location` in the answer for `url`, without a fragment.

    A blank or a letter with marks in path or query is escaped, as browsers and curl do.

    Args:
        url: the URL that was requested.
        location: the header as the server sent it. Nothing of it appears in a message.
        what: the address for messages.

    Raises:
        StepError: INVALID, for a location that is not an http or https URL.
    """
    try:
        _check_characters(location)
        parts = escaped(urlsplit(urljoin(url, _decoded(location))))
        origin(parts.geturl())
    except ValueError as error:
        raise StepError(
            Exit.INVALID,
            f"{what} redirects to an address that cannot be used",
            _reason(error),
            "use the final URL",
        ) from None
    return parts._replace(fragment="").geturl()


def escaped(parts: SplitResult) -> SplitResult:
    """A URL with every character escaped that may not stand in a path or a query (RFC 3986, 2.1).

    Raises:
        ValueError: such a character is in the host.
    """
    if any(char.isspace() or not char.isprintable() for char in parts.netloc):
        raise ValueError("it contains a space or a control character in its host")
    path, query = (
        quote(text, safe=string.punctuation, errors="surrogateescape") for text in (parts.path, parts.query)
    )
    return parts._replace(path=path, query=query)


def check_same_origin(before: str, after: str, what: str) -> None:
    """Refuse a redirect that leaves the origin, for a client that sends the credentials again.

    Raises:
        StepError: INVALID.
    """
    if not keeps_credentials(before, after):
        scheme, host, port = origin(after)
        raise StepError(
            Exit.INVALID,
            f"{what} redirects to {scheme} on the host {shown(host)}, port {port}",
            "the credentials would go to another server",
            "write the final URL into spec.endpoint of the source, or correct the redirect at the server",
        )


def _check_characters(location: str) -> None:
    """Libraries do not agree on where a host ends at a backslash. Raises ValueError."""
    if any(ord(char) < 32 or char in "\\\x7f" for char in location):
        raise ValueError("it contains a backslash or a control character")


def _decoded(location: str) -> str:
    """The header as text: http.client decodes every header as Latin-1, and servers write UTF-8."""
    try:
        return location.strip().encode("latin-1").decode(errors="surrogateescape")
    except UnicodeEncodeError:  # not from http.client
        return location.strip()


def _reason(error: ValueError) -> str:
    """The reason without a part of the URL, which the library's own errors quote."""
    own = str(error)
    return own if own.startswith("it ") else "its host or port cannot be read"


def _entries(text: str) -> Iterator[str]:
    for entry in filter(None, map(str.strip, text.split(","))):
        if not hosts.is_pattern(entry):
            raise StepError(
                Exit.INVALID, f"{REDIRECT_HOSTS} is not a list of hosts", shown(entry), hosts.PATTERN_HELP
            )
        yield entry
