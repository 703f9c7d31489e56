"""The ways to the bytes of an export: within the cluster, through its ingress, or the address of the source.

KubeVirt names them in the status of the export (KV pkg/storage/export/export/links.go), with the certificates
to trust. The exporter serves `raw` with ranges (http.ServeContent), `gzip` as one stream, and for a volume
that CDI has not written only its files (pkg/storage/export/virt-exportserver/exportserver.go).
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlsplit

import structlog

from steps.disk.faults import connection_fault
from steps.disk.http_client import HttpClient
from steps.disk.web import parse_content_range
from steps.model.contract import Exit, StepError
from steps.providers.keep_alive import lost_fault
from steps.providers.kubevirt import power
from steps.providers.kubevirt.answers import Answer
from steps.providers.kubevirt.api import Api
from steps.runtime import certificates

log = structlog.get_logger()

TOKEN_HEADER: Final = "x-kubevirt-export-token"  # noqa: S105 - the name of a header
FIRST_BYTE: Final = "bytes=0-0"
PROXY_PATH: Final = "/api/export.kubevirt.io/v1beta1/namespaces/{}/virtualmachineexports/{}"
"""Where virt-exportproxy serves an export (KV cmd/virt-exportproxy/virt-exportproxy.go)."""
PROXY_SECONDS: Final = 60.0
"""Seconds until the proxy, or an ingress, must know an export that is ready."""
_WAITS: Final = (404, 502, 503, 504)
_DISK: Final = "disk.img"
"""The file with the disk on a volume with a filesystem."""


@dataclass(frozen=True)
class Address:
    """What the source says about the way to the exports."""

    url: str = ""
    """Of virt-exportproxy, as spec.exportAddress; empty: the links of the export."""
    thumbprint: str = ""


@dataclass(frozen=True)
class Link:
    """A way to the bytes of a disk that works."""

    url: str
    tls: ssl.SSLContext = field(repr=False)
    is_gzip: bool
    size: int | None
    """Bytes of the disk; None if the server does not say it."""
    has_ranges: bool

    @property
    def name(self) -> str:
        """The host, for messages."""
        return urlsplit(self.url).hostname or ""


@dataclass(frozen=True)
class _Way:
    """A link of an export before it was tried."""

    name: str
    url: str
    certificates: str
    is_gzip: bool


def has_any(export: Answer) -> bool:
    """Whether the status names links."""
    return any(export.has("status", "links", kind) for kind in ("internal", "external"))


def choose(source: Api, export: Answer, claim: str, token: str, what: str, address: Address) -> Link:
    """The first way that works.

    Raises:
        StepError: UNSUPPORTED, if the volume is offered in no usable format; UNREACHABLE, UNTRUSTED or
            INVALID, naming all ways and what is wrong with each.
    """
    ways = list(_ways(source, export, claim, address))
    if not ways:
        raise StepError(
            Exit.UNSUPPORTED,
            what,
            f"the export offers the claim {claim} neither as raw nor as gzip",
            "see the VirtualMachineExport at the source",
        )
    failures: list[StepError] = []
    for way in ways:
        try:
            return _open(source, way, token, what, address)
        except StepError as error:
            log.info("a way to the disk cannot be used", way=way.name, why=str(error))
            failures.append(error)
    worst = next((error for error in failures if error.code is Exit.UNTRUSTED), failures[0])
    why = " | ".join(
        f"{way.name}: {error.what} {error.why}" for way, error in zip(ways, failures, strict=True)
    )
    remedy = worst.remedy if worst.code is Exit.UNTRUSTED else _REMEDY
    raise type(worst)(worst.code, what, why, remedy)


_REMEDY: Final = (
    "make an Ingress for the Service virt-exportproxy at the source, and write its URL into "
    "spec.exportAddress of the source; within one cluster, allow the network of its Services with the value "
    "sourceNetwork.allowed"
)


def _ways(source: Api, export: Answer, claim: str, address: Address) -> Iterator[_Way]:
    """The links for the claim, the best first; only the address of the source if it names one."""
    links = export.child("status", "links")
    for kind in ("external",) if address.url else ("internal", "external"):
        # Without an Ingress that KubeVirt knows there are internal links only: the path behind is the same.
        link = links.child(kind) if links.has(kind) or kind == "internal" else links.child("internal")
        for volume in link.elements("volumes"):
            if volume.text("name") != claim:
                continue
            formats = {one.text("format"): one.text("url") for one in volume.elements("formats")}
            chosen = _format(formats)
            if chosen is None:
                continue
            url, is_gzip = chosen
            if address.url and _is_usable(url):
                url = _at_address(source, export.name, url, address.url)
            own = link.text("cert")
            yield _Way("the address of the source" if address.url else f"the {kind} link", url, own, is_gzip)


def _format(formats: dict[str, str]) -> tuple[str, bool] | None:
    """The URL to read, and whether it is compressed; None if there is none."""
    if formats.get("raw"):
        return formats["raw"], False
    if formats.get("dir"):  # a volume that CDI has not written: KubeVirt's disk is a file on it
        return f"{formats['dir'].rstrip('/')}/{_DISK}", False
    if formats.get("gzip"):
        return formats["gzip"], True
    return None


def _at_address(source: Api, export: str, url: str, address: str) -> str:
    """The URL of a link at the address of virt-exportproxy."""
    path = urlsplit(url).path
    place = path.find("/volumes/")
    proxy = PROXY_PATH.format(quote(source.namespace), quote(export))
    return address.rstrip("/") + proxy + path[max(place, 0) :]


def _open(source: Api, way: _Way, token: str, what: str, address: Address) -> Link:
    """Prove that a way works: the first byte can be read, or a compressed stream begins.

    Raises:
        StepError: UNREACHABLE, UNTRUSTED; INVALID, for a URL that is not https or that the guard refuses.
    """
    _check_url(way.url, what)
    tls = certificates.tls_context(
        ca=way.certificates,
        thumbprint=address.thumbprint if address.url else "",
        insecure=source.insecure,
        key="status.links of the export",
    )
    end = power.CLOCK() + PROXY_SECONDS
    while True:
        client = HttpClient(way.url, tls)
        headers = {TOKEN_HEADER: token, "Accept-Encoding": "identity"}
        try:
            answer = client.get(headers if way.is_gzip else {**headers, "Range": FIRST_BYTE})
            if answer.status not in _WAITS or power.CLOCK() >= end:
                return _link(way, tls, answer, client.name, what)
        except (OSError, http.client.HTTPException) as error:
            raise connection_fault(error, client.name) from error
        finally:
            client.close()
        source.stop.sleep(power.POLL_SECONDS)  # the proxy has not seen yet that the export is ready


def _link(way: _Way, tls: ssl.SSLContext, answer: http.client.HTTPResponse, name: str, what: str) -> Link:
    if answer.status == 206 and not way.is_gzip:
        _, size = parse_content_range(answer, 0)
        return Link(way.url, tls, is_gzip=False, size=size, has_ranges=size is not None)
    if answer.status == 200:
        return Link(way.url, tls, is_gzip=way.is_gzip, size=None, has_ranges=False)
    if answer.status == 416 and not way.is_gzip:
        raise StepError(Exit.CORRUPT, what, f"{name} serves an empty disk", "check the volume at the source")
    if answer.status in (401, 403):
        raise lost_fault(what, f"{name} does not accept the token of the export")
    raise StepError(Exit.UNREACHABLE, f"{name} answers {answer.status}", "it is not the exporter")


def _check_url(url: str, what: str) -> None:
    """Refuse a URL that is not one of an exporter; nothing of it appears in a message."""
    if not _is_usable(url):
        raise StepError(Exit.INVALID, what, "the export names no https URL for the disk")


def _is_usable(url: str) -> bool:
    """Whether it is an https URL without a login and without special characters."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
        usable = usable and parts.username is None
    except ValueError:
        usable = False
    return usable and not any(ord(char) <= 32 or char in "\\\x7f" for char in url)
