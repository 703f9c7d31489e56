"""Errors of the operating system and of HTTP as StepErrors: what, why, and what to do."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from steps.model.contract import Exit, NoAnswerError, StepError
from steps.runtime import retry_after
from steps.runtime.proxy import ProxyError
from steps.runtime.retry_after import Headers

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
FREE_SPACE_REMEDY: Final = (
    "free some space, then retry: the transfer resumes (in a cluster enlarge the claim, or set another"
    " scratch.storageClass or a larger scratch.filesystemFactor; elsewhere use a larger filesystem)"
)


@dataclass(frozen=True)
class SpaceNeed:
    """Bytes of a file on a filesystem that may be too small: current, estimated, and most."""

    used: int
    expected: int | None
    maximum: int | None

    def __str__(self) -> str:
        estimate = f"about {self.expected}" if self.expected and self.expected > self.used else ""
        limit = f"{self.maximum} at most" if self.maximum and self.maximum != self.expected else ""
        needed = ", ".join(filter(None, (estimate, limit))) or "more"
        return f"it has {self.used} bytes so far and needs {needed}"


GATEWAY_STATUSES: Final = (502, 503, 504)
"""Answers of a gateway in front of a service that does not answer, as while it starts (RFC 9110, 15.6)."""


def is_no_space(error: OSError) -> bool:
    """Whether a filesystem, or a quota on it, is full."""
    return error.errno in _NO_ROOM


@contextmanager
def explain_no_space(path: Path) -> Iterator[None]:
    """Turn a full filesystem, while `path` is written, into a StepError (NO_SPACE)."""
    try:
        yield
    except OSError as error:
        if is_no_space(error):
            raise storage_fault(error, path) from error
        raise


def storage_fault(error: OSError, path: Path, need: SpaceNeed | None = None) -> StepError:
    """The StepError for a failed write to `path`."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if is_no_space(error):
        why = (
            f"{reason}; {need}; {_free_bytes(path)} bytes are free"
            if need
            else f"{reason}: {_free_bytes(path)} bytes are free"
        )
        return StepError(Exit.NO_SPACE, f"no room for {path}", why, FREE_SPACE_REMEDY)
    if error.errno == errno.EIO:
        return StepError(
            Exit.UNREACHABLE, f"the storage under {path} fails", reason, "check the volume and its node"
        )
    return StepError(Exit.INVALID, f"cannot write {path}", reason, "check the scratch volume")


def _free_bytes(path: Path) -> str:
    try:
        stats = os.statvfs(path.parent)
    except OSError:
        return "an unknown number of"
    return str(stats.f_bavail * stats.f_frsize)


def connection_fault(error: Exception, host: str) -> StepError:
    """The StepError for a missing answer from `host`: a NoAnswerError, unless a certificate is untrusted."""
    if isinstance(error, ProxyError):
        return NoAnswerError(
            Exit.UNREACHABLE,
            f"cannot reach {host}",
            f"the proxy: {describe(error)}",
            "allow the host in the proxy, correct HTTP_PROXY and HTTPS_PROXY, or exempt the host in NO_PROXY",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return StepError(
            Exit.UNTRUSTED,
            f"the certificate of {host} is not trusted",
            error.verify_message,
            "provide the certificate of the CA that signed it",
        )
    return NoAnswerError(Exit.UNREACHABLE, f"{host} does not answer", describe(error), network_remedy(error))


def network_remedy(error: Exception) -> str:
    """The remedy for a host that cannot be reached."""
    if isinstance(error, socket.gaierror):
        return "make its name resolvable where this runs (DNS; in a cluster also hostAliases), or set a proxy"
    if isinstance(error, TimeoutError | ConnectionRefusedError):
        return "open the port (firewall, route), start the server that listens there, or set HTTPS_PROXY"
    return "check the host, and the network and the proxy on the path to it"


def describe(error: Exception) -> str:
    """An exception as a part of a sentence."""
    if isinstance(error, TimeoutError):
        return "it sent nothing for too long"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def status_fault(status: int, reason: str, host: str, headers: Headers = MappingProxyType({})) -> StepError:
    """The StepError for an HTTP status other than 200 and 206; `headers` of the answer."""
    code, remedy = _code_and_remedy(status)
    what = f"{host} answers {status} {reason}".rstrip()
    if status not in (*GATEWAY_STATUSES, *retry_after.BUSY_STATUSES):
        return StepError(code, what, remedy=remedy)
    wait = retry_after.seconds(headers)
    return NoAnswerError(code, what, retry_after.request(wait), remedy, retry_after=wait)


def _code_and_remedy(status: int) -> tuple[Exit, str]:
    if status in (401, 403, 407):
        return Exit.DENIED, "check the credentials and the permission to export disks"
    if status in (404, 410):
        return Exit.NOT_FOUND, "check the URL"
    if status in (408, 425, 429) or status >= 500:
        return Exit.UNREACHABLE, ""
    if 300 <= status < 400:
        return Exit.INVALID, "redirects are not followed: use the final URL"
    return Exit.INVALID, "the server rejects this request"


def broken_stream_fault(what: str, why: str = "") -> StepError:
    """The error for a stream that ended early or is damaged: retried, what landed is kept."""
    return StepError(Exit.BROKEN_STREAM, what, why)


def lost_connection_fault(what: str, why: str = "") -> StepError:
    """The error for a stream whose server stopped sending; as `broken_stream_fault`."""
    return NoAnswerError(Exit.BROKEN_STREAM, what, why)


def corruption_fault(what: str, why: str = "", remedy: str = "") -> StepError:
    """The error for a corrupt source: reading it again does not help."""
    return StepError(Exit.CORRUPT, what, why, remedy)
