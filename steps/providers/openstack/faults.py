"""Errors of OpenStack and the network as StepErrors. The only place that maps them."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from keystoneauth1 import exceptions as auth
from openstack import exceptions as sdk

from steps.disk.faults import GATEWAY_STATUSES
from steps.model.contract import Exit, NoAnswerError, StepError
from steps.runtime import certificates, retry_after
from steps.runtime.retry import LONGEST_PAUSE_SECONDS

_LONGEST: Final = 300
"""Most characters of a service's own message: some send whole pages."""
_QUOTA_TEXTS: Final = ("quota", "limit exceeded", "overlimit", "maximum number of", "exceeds allowed")
"""Texts of Nova, Cinder and Glance with 403 or 413 when a limit of the project is reached."""
_BUSY_TEXTS: Final = (
    "status must be",
    "invalid volume",
    "invalid snapshot",
    "currently",
    "in use",
    "task_state",
)
"""Texts of Cinder with 400 about a busy object (cinder/exception.py, InvalidVolume)."""


@contextmanager
def as_step_error(what: str, address: str) -> Iterator[None]:
    """Turn errors in the body into a StepError that begins with `what`; `address` is Keystone's."""
    try:
        yield
    except auth.HttpError as error:
        raise _from_status(what, error.http_status, error_text(error), _headers(error)) from error
    except sdk.HttpException as error:
        raise _from_status(what, error.status_code or 0, error_text(error), _headers(error)) from error
    except auth.SSLError as error:
        raise _from_tls(what, error, address) from error
    except (auth.EndpointNotFound, auth.CatalogException) as error:
        raise StepError(
            Exit.INVALID,
            what,
            f"the catalog has no such service in this region and interface ({error_text(error)})",
            "check spec.region and spec.interface of the source",
        ) from error
    except _NETWORK as error:
        raise _unreachable(what, error_text(error), address) from error
    except (auth.ClientException, sdk.SDKException) as error:
        raise StepError(Exit.UNREACHABLE, what, error_text(error), "it is tried again") from error


_NETWORK: Final = (
    auth.ConnectionError,
    auth.DiscoveryFailure,
    auth.RetriableConnectionFailure,
    requests.RequestException,
    OSError,
)


def _headers(error: Any) -> Mapping[str, str]:
    """The headers of the answer that caused an error."""
    headers: Mapping[str, str] = getattr(getattr(error, "response", None), "headers", None) or {}
    return headers


def _from_status(what: str, status: int, why: str, headers: Mapping[str, str]) -> StepError:
    text = why.lower()
    if status == 413 or (status == 403 and any(part in text for part in _QUOTA_TEXTS)):
        remedy = "raise the project's quota or free some of it, then retry: the import resumes"
        return StepError(Exit.NO_SPACE, what, why, remedy)
    if status == 400 and any(part in text for part in _BUSY_TEXTS):
        return StepError(Exit.BUSY, what, why, "it is tried again")
    code, remedy = _CODES.get(status, (Exit.UNREACHABLE if status >= 500 else Exit.INVALID, ""))
    if status not in (*GATEWAY_STATUSES, *retry_after.BUSY_STATUSES):
        return StepError(code, what, why, remedy)
    wait = retry_after.seconds(headers)
    why = ", ".join(filter(None, (why, retry_after.request(wait))))
    return NoAnswerError(code, what, why, remedy, retry_after=wait)


_CODES: Final = {
    401: (Exit.DENIED, "correct the credentials in the source's secret"),
    403: (Exit.DENIED, "grant the permission to the account in the source's secret"),
    404: (Exit.NOT_FOUND, ""),
    409: (Exit.BUSY, "it is tried again"),
    408: (Exit.UNREACHABLE, "it is tried again"),
    429: (Exit.BUSY, "it is tried again"),
}


def error_text(error: Any) -> str:
    """The text of an error, in one line, without the URL of the request.

    Of an answer only the message of a JSON error: another body, such as a web page, may come from any server.
    """
    response = getattr(error, "response", None)
    if response is not None and "json" not in response.headers.get("Content-Type", ""):
        return f"it answers {response.status_code}"
    text = getattr(error, "details", None) or getattr(error, "message", None) or str(error)
    line = " ".join(str(text).split()) or type(error).__name__
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def is_transient(error: Exception) -> bool:
    """Whether a read with this error may succeed if it is repeated at once."""
    status = getattr(error, "http_status", None) or getattr(error, "status_code", None)
    if status is not None:
        asked = retry_after.seconds(_headers(error)) or 0.0
        return (status in (408, 429) or status >= 500) and asked <= LONGEST_PAUSE_SECONDS
    return isinstance(error, _NETWORK) and not isinstance(error, auth.SSLError)


def is_not_found(error: Exception) -> bool:
    """Whether the object of the call no longer exists."""
    return isinstance(error, StepError) and error.code is Exit.NOT_FOUND


def _unreachable(what: str, reason: str, address: str) -> StepError:
    remedy = "check the source's endpoint and the network path to it"
    return NoAnswerError(Exit.UNREACHABLE, what, f"{address}: {reason}", remedy)


def _from_tls(what: str, error: Exception, address: str) -> StepError:
    """An untrusted certificate, or no TLS at all, as with plain HTTP."""
    cause = _tls_cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _untrusted(what, cause, address)
    return _unreachable(what, error_text(cause or error), address)


def _untrusted(what: str, error: ssl.SSLCertVerificationError, address: str) -> StepError:
    parts = urlsplit(address)
    thumbprint = certificates.presented_thumbprint(parts.hostname or "", parts.port or 443)
    why = f"the certificate of {parts.netloc} is not trusted ({error.verify_message})"
    return StepError(
        Exit.UNTRUSTED,
        what,
        f"{why}; its SHA-256 thumbprint is {thumbprint}" if thumbprint else why,
        "put the CA's certificate in the secret's key ca_cert, or set insecureSkipTLSVerify: true",
    )


def _tls_cause(error: BaseException) -> ssl.SSLError | None:
    """The original TLS error, which urllib3, requests and keystoneauth wrap."""
    if isinstance(error, ssl.SSLError):
        return error
    wrapped = (error.__cause__, error.__context__, getattr(error, "reason", None), *error.args)
    causes = (
        _tls_cause(wrapped_error) for wrapped_error in wrapped if isinstance(wrapped_error, BaseException)
    )
    return next(filter(None, causes), None)
