"""Errors of the source's API server and of the network as StepErrors. The only place that maps them."""

from __future__ import annotations

import http.client
import ssl
from typing import Final

from steps.disk.faults import GATEWAY_STATUSES, connection_fault, describe
from steps.model.contract import Exit, NoAnswerError, StepError
from steps.providers.kubevirt.answers import Answer
from steps.runtime import retry_after

LONGEST_TEXT: Final = 300
"""Most characters of the API server's own message."""
NETWORK: Final = (OSError, http.client.HTTPException)
_TRY_AGAIN: Final = "it is tried again"
_RIGHTS: Final = (
    "give the account of the kubeconfig the rights that docs/how-to/sources.md lists for KubeVirtSources"
)
_CODES: Final = {
    400: (Exit.INVALID, ""),
    401: (Exit.DENIED, "write a kubeconfig with valid credentials into the source's secret"),
    403: (Exit.DENIED, _RIGHTS),
    404: (Exit.NOT_FOUND, ""),
    408: (Exit.UNREACHABLE, _TRY_AGAIN),
    409: (Exit.BUSY, _TRY_AGAIN),
    429: (Exit.BUSY, _TRY_AGAIN),
}


class RefusedError(StepError):
    """An error answer of the API server; `status` is its HTTP status, `text` its own message."""

    def __init__(self, error: StepError, status: int, text: str) -> None:
        super().__init__(error.code, error.what, error.why, error.remedy)
        self.status = status
        self.text = text


def from_status(what: str, status: int, answer: Answer, headers: retry_after.Headers) -> StepError:
    """The StepError for an error status."""
    text = status_text(answer)
    if 300 <= status < 400:
        remedy = "write the final URL into the kubeconfig and into spec.endpoint of the source"
        return StepError(Exit.INVALID, what, f"the API server redirects ({status})", remedy)
    code, remedy = _CODES.get(status, (Exit.UNREACHABLE if status >= 500 else Exit.INVALID, ""))
    why = text or f"the API server answers {status}"
    if status in (*GATEWAY_STATUSES, 429):
        wait = retry_after.seconds(headers)
        return NoAnswerError(code, what, why, remedy, retry_after=wait)
    if code is Exit.DENIED and "exceeded quota" in text:
        return RefusedError(
            StepError(Exit.NO_SPACE, what, why, "raise that quota at the source, then retry"), status, text
        )
    return RefusedError(StepError(code, what, why, remedy), status, text)


def status_text(answer: Answer) -> str:
    """The message of a Status (k8s.io/apimachinery, metav1.Status), in one short line."""
    try:
        text = answer.text("message") if answer.text("kind") == "Status" else ""
    except StepError:
        return ""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_TEXT else f"{line[: LONGEST_TEXT - 1]}…"


def from_connection(what: str, error: Exception, host: str) -> StepError:
    """The StepError for a missing answer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return StepError(
            Exit.UNTRUSTED,
            what,
            f"the certificate of {host} is not trusted ({error.verify_message})",
            "put the cluster's CA into certificate-authority-data of the kubeconfig, or set "
            "insecureSkipTLSVerify: true in the source",
        )
    fault = connection_fault(error, host)
    return NoAnswerError(fault.code, what, f"{host}: {describe(error)}", fault.remedy)


def is_transient(error: Exception) -> bool:
    """Whether a read with this error may succeed if it is repeated at once."""
    return isinstance(error, NoAnswerError) and error.retry_after is None
