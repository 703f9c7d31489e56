"""Errors of vSphere and the network as StepErrors. The only place that maps them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any, Final
from xml.parsers.expat import ExpatError

from pyVmomi import vim, vmodl

from steps.model.contract import Exit, NoAnswerError, StepError
from steps.providers.vmware.endpoint import Endpoint
from steps.runtime import certificates

# InvalidPowerState is an InvalidState, NotAuthenticated a NoPermission (vSphere Web Services API, fault
# hierarchy): in these tables the narrower fault comes first.
_CODES: Final[tuple[tuple[type[Any], Exit, str], ...]] = (
    (
        vim.fault.InvalidLogin,
        Exit.DENIED,
        "correct the keys username and password in the source's secret",
    ),
    (vim.fault.NotAuthenticated, Exit.UNREACHABLE, "the session was ended at the source; vmferry retries"),
    (vim.fault.NoPermission, Exit.DENIED, "grant the permission to the account in the source's secret"),
    (vim.fault.InvalidPowerState, Exit.POWER, "power the VM off, and leave it off until it is imported"),
    (vim.fault.ToolsUnavailable, Exit.POWER, ""),
    (vmodl.fault.ManagedObjectNotFound, Exit.NOT_FOUND, ""),
    (vim.fault.Timedout, Exit.UNREACHABLE, ""),
    (vim.fault.RestrictedVersion, Exit.UNSUPPORTED, "the host's licence does not allow this call"),
    (vmodl.fault.NotSupported, Exit.UNSUPPORTED, ""),
)
_BUSY: Final[tuple[type[Any], ...]] = (
    vim.fault.TaskInProgress,
    vim.fault.ResourceInUse,
    vim.fault.FileLocked,
    vim.fault.ConcurrentAccess,
    vim.fault.TooManyConcurrentNativeClones,
    vim.fault.InvalidState,
)
_NETWORK: Final = (OSError, HTTPException, ExpatError)
_NO_ANSWER: Final[tuple[type[Any], ...]] = (
    vim.fault.NotAuthenticated,  # the session was ended, as by a restart
    vim.fault.Timedout,
    vmodl.fault.HostCommunication,  # vCenter does not reach the host: HostNotConnected, HostNotReachable
    vmodl.fault.RequestCanceled,
)
_NOT_READY_TEXTS: Final = ("not ready", "unavailable", "starting", "shutting down", "connection refused")
"""Texts of a SystemError of a vCenter that starts or stops: its services do not reach each other."""


@contextmanager
def as_step_error(what: str, endpoint: Endpoint) -> Iterator[None]:
    """Turn errors in the body into a StepError that begins with `what`."""
    try:
        yield
    except vmodl.MethodFault as fault:
        raise from_fault(what, fault) from fault
    except _NETWORK as error:
        raise from_network(what, error, endpoint) from error


def from_fault(what: str, fault: object) -> StepError:
    """The StepError of a vSphere fault; an unknown fault is retried."""
    if is_busy(fault):
        return StepError(Exit.BUSY, what, text(fault), "it is tried again")
    error = NoAnswerError if _is_no_answer(fault) else StepError
    for kind, code, remedy in _CODES:
        if isinstance(fault, kind):
            return error(code, what, text(fault), remedy)
    return error(Exit.UNREACHABLE, what, text(fault), "it is tried again")


def _is_no_answer(fault: object) -> bool:
    """Whether vCenter, or a part of it, is away: it may take minutes to start."""
    if isinstance(fault, vmodl.fault.SystemError):
        return any(part in text(fault).lower() for part in _NOT_READY_TEXTS)
    return isinstance(fault, _NO_ANSWER)


def is_busy(fault: object) -> bool:
    """Whether the VM or its host is temporarily busy."""
    return isinstance(fault, _BUSY) and not isinstance(fault, vim.fault.InvalidPowerState)


def is_not_found(fault: object) -> bool:
    """Whether the object of the call no longer exists."""
    return isinstance(fault, vmodl.fault.ManagedObjectNotFound | vim.fault.NotFound)


def text(fault: Any) -> str:
    """The text of a fault, in one line.

    pyvmomi puts LocalizedMethodFault.localizedMessage, or the SOAP faultstring, in `msg`.
    """
    if isinstance(fault, vim.fault.InvalidLogin):
        return "the user name or password is wrong"
    if isinstance(fault, vim.fault.NotAuthenticated):
        return "the session is not logged in any more"
    if isinstance(fault, vim.fault.NoPermission):
        return f"{_missing_privileges(fault)} is missing"
    message = getattr(fault, "msg", None) or " ".join(part.message or "" for part in fault.faultMessage)
    name = type(fault).__name__.rpartition(".")[2]
    return " ".join(message.split()) if message else name


def _missing_privileges(fault: Any) -> str:
    """The missing privileges and their objects: `missingPrivileges` is in newer APIs, all is optional."""
    missing = [f"{', '.join(entry.privilegeIds)} on {entry.entity}" for entry in fault.missingPrivileges]
    privilege = (
        f"the privilege {fault.privilegeId}" if fault.privilegeId else "a privilege that it does not name"
    )
    privilege_on_object = f"{privilege} on {fault.object}" if fault.object else privilege
    message = f"the privilege {'; '.join(missing)}" if missing else privilege_on_object
    return message.replace("'", "").replace("vim.", "")


def from_network(what: str, error: Exception, endpoint: Endpoint) -> StepError:
    """The StepError of a failure below the API: name, connection, certificate, HTTP, malformed answer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _untrusted(what, error, endpoint)
    if isinstance(error, socket.gaierror):
        why = f"the name {endpoint.host} is not known ({error.strerror})"
    elif isinstance(error, TimeoutError):
        why = f"{endpoint} does not answer in time"
    elif isinstance(error, ConnectionRefusedError):
        why = f"{endpoint} refuses the connection"
    elif isinstance(error, ExpatError):
        why = f"{endpoint} sends an answer that is not from the vSphere API"
    else:
        why = f"{endpoint}: {str(error) or type(error).__name__}"
    return NoAnswerError(
        Exit.UNREACHABLE, what, why, "check the source's endpoint and the network path to it"
    )


def _untrusted(what: str, error: ssl.SSLCertVerificationError, endpoint: Endpoint) -> StepError:
    why = f"the certificate of {endpoint} is not trusted ({error.verify_message or error.reason})"
    thumbprint = certificates.presented_thumbprint(endpoint.host, endpoint.port)
    return StepError(
        Exit.UNTRUSTED,
        what,
        f"{why}; its SHA-256 thumbprint is {thumbprint}" if thumbprint else why,
        "put the CA's certificate in the secret's key caCert, or this thumbprint in its key thumbprint after"
        " you have compared it at the server, or set insecureSkipTLSVerify: true to skip the check",
    )


def is_transient(error: Exception) -> bool:
    """Whether a read with this error may succeed if it is repeated at once."""
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    return isinstance(error, ConnectionError | TimeoutError | HTTPException)
