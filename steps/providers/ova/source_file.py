"""A file at the source: behind redirects, with or without Range."""

from __future__ import annotations

import base64
import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

import structlog

from steps.disk.faults import broken_stream_fault, connection_fault, describe, status_fault
from steps.disk.http_client import HttpClient
from steps.disk.source import Source, Validators
from steps.disk.web import parse_content_range
from steps.model.contract import Exit, StepError
from steps.model.plan import SourcePlan
from steps.providers.ova.address import Address
from steps.runtime import certificates, redirects, secret
from steps.runtime.redirects import Redirects
from steps.runtime.stop import Stop

log = structlog.get_logger()

AHEAD: Final = 1 << 16
"""Bytes per request: a descriptor and the headers around it are often among the first."""
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_MAX_REDIRECTS: Final = 10
_NO_RANGE: Final = (400, 416, 501)
"""Answers to a Range by servers that do not support it, or for an empty file."""


@dataclass(frozen=True, kw_only=True)
class HttpSettings:
    """TLS trust and login for requests. The login is only for the origin of the source's URL."""

    login: str = field(default="", repr=False)
    source_url: str = ""
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    stop: Stop = field(default_factory=Stop, repr=False)
    redirects: Redirects = field(default_factory=Redirects)

    @classmethod
    def read(cls, plan: SourcePlan, folder: Path, address: Address, stop: Stop) -> Self:
        """From the keys `username`, `password` and `ca.crt`, each of which may be missing.

        Raises:
            StepError: INVALID, for a key that is not text, an invalid CA, or an invalid list of hosts.
        """
        username = secret.read_text(folder, "username").strip()
        password = secret.read_text(folder, "password")
        tls = None
        if urlsplit(address.url).scheme != "file":  # a server for http may redirect to one for https
            tls = certificates.tls_context(
                ca=secret.read_text(folder, "ca.crt").strip(),
                thumbprint=plan.thumbprint,
                insecure=plan.insecure_skip_tls_verify,
                key="ca.crt",
            )
        login = base64.b64encode(f"{username}:{password}".encode()).decode() if username else ""
        rule = Redirects.read(address.url, plan.redirect_hosts)
        return cls(login=login, source_url=address.url, tls=tls, stop=stop, redirects=rule)

    def headers(self, url: str) -> dict[str, str]:
        """Headers for `url` (RFC 7617)."""
        if not self.login or not redirects.keeps_credentials(self.source_url, url):
            return {}
        return {"Authorization": f"Basic {self.login}"}


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file that answered."""

    url: str = field(repr=False)
    """The URL after redirects; it may contain a short-lived key."""
    display_url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    supports_range: bool
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


def locate(address: Address, settings: HttpSettings) -> SourceFile:
    """Request the beginning of a file, following redirects.

    Raises:
        StepError: UNREACHABLE, UNTRUSTED, DENIED, NOT_FOUND, INVALID, BROKEN_STREAM.
    """
    path = address.path
    if path is not None:
        return _local(path)
    url = address.url
    for _ in range(_MAX_REDIRECTS):
        settings.stop.check()
        result = _request(url, address, settings)
        if isinstance(result, SourceFile):
            return result
        log.info("following a redirect", host=redirects.origin(url)[1], to=redirects.origin(result)[1])
        url = result
    raise StepError(
        Exit.INVALID,
        f"{address} redirects too often",
        f"it redirects more than {_MAX_REDIRECTS} times",
        "use the final URL",
    )


def _local(path: Path) -> SourceFile:
    try:
        with path.open("rb") as file:
            head = file.read(AHEAD)
        status = path.stat()
    except OSError as error:
        raise StepError(
            Exit.NOT_FOUND, f"cannot read {path}", describe(error), "check the path and its permissions"
        ) from None
    validators = Validators(etag=f"{status.st_size}-{status.st_mtime_ns}", total=status.st_size)
    return SourceFile(
        url=path.absolute().as_uri(),
        display_url=str(path),
        supports_range=True,
        validators=validators,
        head=head,
    )


def _request(url: str, address: Address, settings: HttpSettings) -> SourceFile | str:
    """The file, or the URL of a redirect."""
    client = HttpClient(url, settings.tls)
    host = client.name
    try:
        answer = client.get({**_request_headers(settings, url), "Range": f"bytes=0-{AHEAD - 1}"})
        if answer.status in _NO_RANGE:
            answer = client.get(_request_headers(settings, url))
        if answer.status in _REDIRECTS:
            return _redirect_url(url, answer, address, settings)
        if answer.status not in (200, 206):
            raise _refusal(answer, host, settings)
        return _source_file(url, answer, address, settings)
    except (OSError, http.client.HTTPException) as error:
        raise connection_fault(error, host) from error
    finally:
        client.close()


def _request_headers(settings: HttpSettings, url: str) -> dict[str, str]:
    return {**settings.headers(url), "Accept-Encoding": "identity"}


def _redirect_url(
    url: str, answer: http.client.HTTPResponse, address: Address, settings: HttpSettings
) -> str:
    """The URL of a redirect that may be followed."""
    after = redirects.resolve(url, answer.headers.get("Location", ""), str(address))
    settings.redirects.check(url, after, str(address))
    return after


def _refusal(answer: http.client.HTTPResponse, host: str, settings: HttpSettings) -> StepError:
    fault = status_fault(answer.status, answer.reason, host, answer.headers)
    if fault.code is Exit.DENIED:
        remedy = "check username and password in the source's secret"
        return StepError(fault.code, fault.what, "" if settings.login else "no user name is set", remedy)
    return fault


def _source_file(
    url: str, answer: http.client.HTTPResponse, address: Address, settings: HttpSettings
) -> SourceFile:
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
    head = _read_head(answer)
    return SourceFile(
        url=url,
        display_url=str(address),
        headers=settings.headers(url),
        tls=settings.tls,
        supports_range=ranged and total is not None,
        validators=replace(validators, total=len(head))
        if total is None and len(head) < AHEAD
        else validators,
        head=head,
    )


def _read_head(answer: http.client.HTTPResponse) -> bytes:
    head = b""
    while len(head) < AHEAD and (block := answer.read(AHEAD - len(head))):
        head += block
    return head
