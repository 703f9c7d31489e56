"""The exit code and the message of each fault."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
from typing import Any

import pytest
import stamina
from pyVmomi import vim, vmodl

from steps.model.contract import Exit, NoAnswerError
from steps.providers.vmware import faults
from steps.providers.vmware.endpoint import Endpoint
from steps.runtime import retry
from steps.runtime.stop import Stop

fault: Any = vim.fault
runtime: Any = vmodl.fault
machine: Any = vim.VirtualMachine
HERE = Endpoint("vc.example.org")


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (fault.InvalidLogin(), Exit.DENIED),
        (fault.NoPermission(privilegeId="VApp.Export"), Exit.DENIED),
        (fault.NotAuthenticated(privilegeId="System.View"), Exit.UNREACHABLE),
        (fault.InvalidState(), Exit.BUSY),
        (fault.InvalidPowerState(), Exit.POWER),
        (fault.TaskInProgress(), Exit.BUSY),
        (fault.ResourceInUse(), Exit.BUSY),
        (fault.FileLocked(), Exit.BUSY),
        (fault.ToolsUnavailable(), Exit.POWER),
        (fault.Timedout(), Exit.UNREACHABLE),
        (runtime.ManagedObjectNotFound(), Exit.NOT_FOUND),
        (runtime.NotSupported(), Exit.UNSUPPORTED),
        (runtime.SystemError(), Exit.UNREACHABLE),
    ],
)
def test_a_fault_has_its_exit_code(given: Any, code: Exit) -> None:
    error = faults.from_fault("cannot do it", given)
    assert error.code is code
    assert str(error).startswith("cannot do it: ")


@pytest.mark.parametrize(
    ("given", "is_away"),
    [
        (fault.NotAuthenticated(privilegeId="System.View"), True),
        (fault.Timedout(), True),
        (runtime.HostNotConnected(), True),
        (runtime.HostNotReachable(), True),
        (runtime.RequestCanceled(), True),
        (runtime.SystemError(msg="A general system error occurred: The service is not ready"), True),
        (runtime.SystemError(msg="A general system error occurred: Connection refused"), True),
        (runtime.SystemError(msg="A general system error occurred: no such disk"), False),
        (fault.InvalidLogin(), False),
        (fault.NoPermission(privilegeId="VApp.Export"), False),
        (fault.InvalidState(), False),
        (runtime.ManagedObjectNotFound(), False),
    ],
)
def test_the_faults_of_a_vcenter_that_restarts_are_waited_for(given: Any, is_away: bool) -> None:
    error = faults.from_fault("cannot do it", given)
    assert isinstance(error, NoAnswerError) is is_away
    assert not is_away or error.code is Exit.UNREACHABLE


def test_the_localized_message_is_the_reason() -> None:
    given = fault.GenericVmConfigFault(msg="The disk\n is  tired.")
    assert faults.text(given) == "The disk is tired."
    assert faults.text(fault.GenericVmConfigFault(msg="")) == "GenericVmConfigFault"


def test_a_missing_privilege_is_named_with_its_object() -> None:
    given = fault.NoPermission(object=machine("vm-64"), privilegeId="VApp.Export")
    assert faults.text(given) == "the privilege VApp.Export on VirtualMachine:vm-64 is missing"


def test_missing_privileges_of_vcenter_7_are_named() -> None:
    each = fault.NoPermission.EntityPrivileges(entity=machine("vm-1"), privilegeIds=["A.B", "C.D"])
    assert "A.B, C.D on VirtualMachine:vm-1" in faults.text(fault.NoPermission(missingPrivileges=[each]))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "the name vc.example.org is not known",
        ),
        (TimeoutError("timed out"), "does not answer in time"),
        (ConnectionRefusedError(), "refuses the connection"),
        (ConnectionResetError(), "ConnectionResetError"),
        (http.client.HTTPException("503 Service Unavailable"), "503"),
        (ssl.SSLError(1, "wrong version number"), "wrong version number"),
    ],
)
def test_a_network_error_is_unreachable(given: Exception, words: str) -> None:
    error = faults.from_network("cannot log in", given, HERE)
    assert isinstance(error, NoAnswerError)
    assert error.code is Exit.UNREACHABLE
    assert words in str(error)


@pytest.mark.parametrize(
    ("given", "worth_it"),
    [
        (ConnectionResetError(), True),
        (http.client.RemoteDisconnected("gone"), True),
        (TimeoutError(), True),
        (socket.gaierror(socket.EAI_AGAIN, ""), True),
        (socket.gaierror(socket.EAI_NONAME, ""), False),
        (ssl.SSLCertVerificationError(1, ""), False),
        (fault.InvalidLogin(), False),
    ],
)
def test_only_transient_errors_are_retried(given: Exception, worth_it: bool) -> None:
    assert faults.is_transient(given) is worth_it


@pytest.mark.parametrize(("failures", "stopped", "tried"), [(2, False, 3), (9, False, 3), (9, True, 1)])
def test_reads_are_retried_a_few_times(failures: int, stopped: bool, tried: int) -> None:
    stop, count = Stop(), 0

    def read(number: int) -> None:
        if stopped:
            stop.set()
        if number <= failures:
            raise ConnectionResetError

    with stamina.set_testing(True, attempts=3), contextlib.suppress(ConnectionResetError):
        for attempt in retry.attempts(stop, faults.is_transient):
            with attempt:
                count += 1
                read(count)
    assert count == tried
