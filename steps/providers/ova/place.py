"""A file at its place: behind redirects, with or without Range."""

from __future__ import annotations

import base64
import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self
from urllib.parse import urljoin, urlsplit

import structlog

from steps.disk.faults import broken_stream_fault, connection_fault, describe, status_fault
from steps.disk.http_client import HttpClient
from steps.disk.source import Source, Validators
from steps.disk.web import parse_content_range
from steps.model.contract import Exit, StepError
from steps.model.plan import SourcePlan
from steps.providers.ova.address import Address, origin, split
from steps.runtime import certificates, secret
from steps.runtime.stop import Stop

log = structlog.get_logger()

AHEAD: Final = 1 << 16
"""Bytes per request: a descriptor and the headers around it are often among the first."""
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_MOST_REDIRECTS: Final = 10
_NO_RANGE: Final = (400, 416, 501)
"""Answers to a Range by servers that do not support it, or for an empty file."""


@dataclass(frozen=True, kw_only=True)
class Reach:
    """TLS trust and login for requests. The login is only for the origin of the source's URL."""

    login: str = field(default="", repr=False)
    home: str = ""
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    stop: Stop = field(default_factory=Stop, repr=False)

    @classmethod
    def read(cls, plan: SourcePlan, folder: Path, address: Address, stop: Stop) -> Self:
        """From the keys `username`, `password` and `ca.crt`, each of which may be missing.

        Raises:
            StepError: INVALID, for a key that is not text, or an invalid CA.
        """
        username = secret.text(folder, "username").strip()
        password = secret.text(folder, "password")
        tls = None
        if urlsplit(address.url).scheme != "file":  # a server for http may redirect to one for https
            tls = certificates.context(
                ca=secret.text(folder, "ca.crt").strip(),
                thumbprint=plan.thumbprint,
                insecure=plan.insecure_skip_tls_verify,
                key="ca.crt",
            )
        login = base64.b64encode(f"{username}:{password}".encode()).decode() if username else ""
        return cls(login=login, home=address.url, tls=tls, stop=stop)

    def headers(self, url: str) -> dict[str, str]:
        """Headers for `url` (RFC 7617). A redirect to https on the same host counts as the same origin."""
        if not self.login:
            return {}
        scheme, host, port = origin(self.home)
        safer = ("https", host, 443) if (scheme, port) == ("http", 80) else None
        at_home = origin(url) in ((scheme, host, port), safer)
        return {"Authorization": f"Basic {self.login}"} if at_home else {}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A file that answered."""

    url: str = field(repr=False)
    """The URL after redirects; it may contain a short-lived key."""
    shown: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    ranged: bool
    """Whether it can be read from the middle."""
    validators: Validators
    head: bytes = field(repr=False)
    """Its first bytes, `AHEAD` at most."""

    @property
    def size(self) -> int | None:
        """Bytes, where that is known."""
        return self.validators.total

    @property
    def version(self) -> str:
        """Differs with the content, as far as the server reports it."""
        return " ".join(filter(None, (self.validators.etag, self.validators.modified, str(self.size or ""))))

    def source(self, offset: int = 0, length: int | None = None) -> Source:
        """A window of it."""
        return Source(
            self.url,
            headers=self.headers,
            tls=self.tls,
            offset=offset,
            length=length,
            file_validators=self.validators,
        )


def find(address: Address, reach: Reach) -> Place:
    """Request the beginning of a file, following redirects.

    Raises:
        StepError: UNREACHABLE, UNTRUSTED, DENIED, NOT_FOUND, INVALID, BROKEN_STREAM.
    """
    path = address.path
    if path is not None:
        return _local(path)
    url = address.url
    for _ in range(_MOST_REDIRECTS):
        reach.stop.check()
        found = _ask(url, address, reach)
        if isinstance(found, Place):
            return found
        log.info("following a redirect", host=origin(url)[1], to=origin(found)[1])
        url = found
    raise StepError(
        Exit.INVALID,
        f"{address} redirects too often",
        f"it redirects more than {_MOST_REDIRECTS} times",
        "use the final URL",
    )


def _local(path: Path) -> Place:
    try:
        with path.open("rb") as file:
            head = file.read(AHEAD)
        status = path.stat()
    except OSError as error:
        raise StepError(
            Exit.NOT_FOUND, f"cannot read {path}", describe(error), "check the path and its permissions"
        ) from None
    validators = Validators(etag=f"{status.st_size}-{status.st_mtime_ns}", total=status.st_size)
    return Place(url=path.absolute().as_uri(), shown=str(path), ranged=True, validators=validators, head=head)


def _ask(url: str, address: Address, reach: Reach) -> Place | str:
    """The file, or the URL of a redirect."""
    client = HttpClient(url, reach.tls)
    host = client.name
    try:
        answer = client.get({**_plain(reach, url), "Range": f"bytes=0-{AHEAD - 1}"})
        if answer.status in _NO_RANGE:
            answer = client.get(_plain(reach, url))
        if answer.status in _REDIRECTS:
            return _next(url, answer, address)
        if answer.status not in (200, 206):
            raise _refused(answer, host, reach)
        return _place(url, answer, address, reach)
    except (OSError, http.client.HTTPException) as error:
        raise connection_fault(error, host) from error
    finally:
        client.close()


def _plain(reach: Reach, url: str) -> dict[str, str]:
    return {**reach.headers(url), "Accept-Encoding": "identity"}


def _next(url: str, answer: http.client.HTTPResponse, address: Address) -> str:
    """The URL of a redirect. Never from https to http: the transfer stays encrypted."""
    there = urljoin(url, answer.headers.get("Location", ""))
    before, after = split(url), split(there)
    if after.scheme == "file" or (before.scheme, after.scheme) == ("https", "http"):
        raise StepError(
            Exit.INVALID,
            f"{address} redirects to {after.scheme}",
            "the transfer would lose its encryption",
            "use a URL that stays on https",
        )
    return after._replace(fragment="").geturl()


def _refused(answer: http.client.HTTPResponse, host: str, reach: Reach) -> StepError:
    fault = status_fault(answer.status, answer.reason, host)
    if fault.code is Exit.DENIED:
        remedy = "check username and password in the source's secret"
        return StepError(fault.code, fault.what, "" if reach.login else "no user name is set", remedy)
    return fault


def _place(url: str, answer: http.client.HTTPResponse, address: Address, reach: Reach) -> Place:
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise broken_stream_fault(
            f"{address} comes with Content-Encoding {encoding}", "it was requested without encoding"
        )
    ranged, total = answer.status == 206, answer.length
    if ranged:
        _, total = parse_content_range(answer, 0)
    validators = Validators(
        etag=answer.headers.get("ETag", ""), modified=answer.headers.get("Last-Modified", ""), total=total
    )
    head = _first(answer)
    return Place(
        url=url,
        shown=str(address),
        headers=reach.headers(url),
        tls=reach.tls,
        ranged=ranged and total is not None,
        validators=replace(validators, total=len(head))
        if total is None and len(head) < AHEAD
        else validators,
        head=head,
    )


def _first(answer: http.client.HTTPResponse) -> bytes:
    head = b""
    while len(head) < AHEAD and (piece := answer.read(AHEAD - len(head))):
        head += piece
    return head
