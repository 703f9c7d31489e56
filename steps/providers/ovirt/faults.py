"""Errors of an oVirt engine and the network as StepErrors. The only place that maps them."""

from __future__ import annotations

import http.client
import ssl
from typing import Final

from steps.disk.faults import GATEWAY_STATUSES, connection_fault, describe
from steps.model.contract import Exit, NoAnswerError, StepError
from steps.providers.ovirt.answers import Answer
from steps.providers.ovirt.endpoint import Endpoint
from steps.runtime import certificates

LONGEST_TEXT: Final = 300
"""Most characters of the engine's own message."""
NETWORK: Final = (OSError, http.client.HTTPException)
_PERMISSION_TEXTS: Final = ("insufficient permissions", "not authorized", "no permission")
_RUNNING_TEXTS: Final = ("non-down vm", "vm is running", "is not down")
_ILLEGAL_TEXTS: Final = ("illegal",)
_TRY_AGAIN: Final = "it is tried again"
_PERMISSION_REMEDY: Final = (
    "give the account in the source's secret a role with this permission, such as DiskOperator on the disks "
    "and UserVmManager on the VM"
)
_CODES: Final = {
    401: (Exit.DENIED, "correct the credentials in the source's secret"),
    403: (Exit.DENIED, _PERMISSION_REMEDY),
    404: (Exit.NOT_FOUND, ""),
    408: (Exit.UNREACHABLE, _TRY_AGAIN),
    409: (Exit.BUSY, _TRY_AGAIN),
    429: (Exit.BUSY, _TRY_AGAIN),
}


def from_status(what: str, status: int, why: str) -> StepError:
    """The StepError for an error status; `why` is the text of the engine's fault."""
    text = why.lower()
    why = why or f"the engine answers {status}"
    if any(part in text for part in _PERMISSION_TEXTS):
        return StepError(Exit.DENIED, what, why, _PERMISSION_REMEDY)
    if any(part in text for part in _RUNNING_TEXTS):
        return StepError(Exit.POWER, what, why, "leave the VM off until it is imported")
    if any(
        part in text for part in _ILLEGAL_TEXTS
    ):  # with status 500, as the engine files it under its own errors
        return StepError(Exit.UNSUPPORTED, what, why, "repair or remove the disk at the source")
    if 300 <= status < 400:
        remedy = "write the final URL into spec.endpoint of the source"
        return StepError(Exit.INVALID, what, f"the engine redirects ({status})", remedy)
    code, remedy = _CODES.get(status, (Exit.UNREACHABLE if status >= 500 else Exit.INVALID, ""))
    kind = NoAnswerError if status in GATEWAY_STATUSES else StepError
    return kind(code, what, why, remedy)


def fault_text(answer: Answer) -> str:
    """The text of a fault: `detail`, without its brackets, else `reason`; at the top or under `fault`."""
    try:
        fault = answer.child("fault") or answer
        text = fault.text("detail") or fault.text("reason")
    except StepError:
        return ""
    line = " ".join(text.split())
    line = line[1:-1] if line.startswith("[") and line.endswith("]") else line
    return line if len(line) <= LONGEST_TEXT else f"{line[: LONGEST_TEXT - 1]}…"


def from_connection(what: str, error: Exception, endpoint: Endpoint) -> StepError:
    """The StepError for a missing answer of the engine."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _untrusted(what, error, endpoint)
    fault = connection_fault(error, str(endpoint))
    return NoAnswerError(fault.code, what, f"{endpoint}: {describe(error)}", fault.remedy)


def _untrusted(what: str, error: ssl.SSLCertVerificationError, endpoint: Endpoint) -> StepError:
    thumbprint = certificates.presented_thumbprint(endpoint.host, endpoint.port)
    why = f"the certificate of {endpoint} is not trusted ({error.verify_message})"
    return StepError(
        Exit.UNTRUSTED,
        what,
        f"{why}; its SHA-256 thumbprint is {thumbprint}" if thumbprint else why,
        "put the CA's certificate in the secret's key caCert (the engine offers it at "
        "/ovirt-engine/services/pki-resource?resource=ca-certificate&format=X509-PEM-CA), "
        "or set insecureSkipTLSVerify: true",
    )


def is_transient(error: Exception) -> bool:
    """Whether a read with this error may succeed if it is repeated at once."""
    return isinstance(error, NoAnswerError)


def is_not_found(error: StepError) -> bool:
    """Whether the object of the call no longer exists."""
    return error.code is Exit.NOT_FOUND
