"""Whether the account has the privileges for an import, checked before the VM is stopped.

The vSphere Web Services API reference lists what each call needs (VirtualMachine, "Required privileges"):
ShutdownGuest and PowerOffVM_Task need VirtualMachine.Interact.PowerOff, ExportVm needs VApp.Export, each on
the VM. The calls of a lease need none. By now the VM has been read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from pyVmomi import vim, vmodl

from steps.model.concerns import block, warn
from steps.model.contract import Exit, StepError
from steps.model.machine import Concern, Power
from steps.providers.vmware import faults
from steps.providers.vmware.session import Session

POWER_OFF: Final = "VirtualMachine.Interact.PowerOff"
EXPORT: Final = "VApp.Export"
RENAME: Final = "VirtualMachine.Config.Rename"
EDIT_DEVICE: Final = "VirtualMachine.Config.EditDevice"
_CLIENT_NAMES: Final = {
    POWER_OFF: "Virtual machine > Interaction > Power off",
    EXPORT: "vApp > Export",
    RENAME: "Virtual machine > Change Configuration > Rename",
    EDIT_DEVICE: "Virtual machine > Change Configuration > Modify device settings",
}
"""As the vSphere Client calls them (vSphere Security, Defined Privileges)."""
_REMEDY: Final = "grant it to the account in the source's secret, on the VM or on a folder above it"


def concerns(session: Session, vm: Any, power: Power) -> Iterator[Concern]:
    """The privileges that the account lacks; a VM that is off need not be stopped.

    Raises:
        StepError: a broken connection, as mapped by faults.py.
    """
    try:
        missing = _missing_privileges(session, vm, (EXPORT,) if power is Power.OFF else (POWER_OFF, EXPORT))
    except _UnknownError as error:
        yield warn(
            "privileges-unknown",
            f"it is not known whether {session.user} may power off and export it: {error}",
            f"make sure that the account has {_listing((POWER_OFF, EXPORT))}",
        )
        return
    if missing:
        yield block("privilege-missing", _lacking_message(session, missing), _REMEDY)


def check(session: Session, vm: Any, what: str) -> None:
    """Prove that the account may power off the VM and export it; passes if that cannot be checked.

    Raises:
        StepError: DENIED, beginning with `what`; a broken connection, as mapped by faults.py.
    """
    try:
        missing = _missing_privileges(session, vm, (POWER_OFF, EXPORT))
    except _UnknownError:
        return  # preflight has warned about it
    if missing:
        raise StepError(Exit.DENIED, what, _lacking_message(session, missing), _REMEDY)


def lacking(session: Session, vm: Any, required: Sequence[str]) -> list[str]:
    """The clause that these privileges are missing, for what happens after the import; else nothing.

    Raises:
        StepError: a broken connection, as mapped by faults.py.
    """
    try:
        missing = _missing_privileges(session, vm, required) if required else []
    except _UnknownError:
        return []
    return [_lacking_message(session, missing)] if missing else []


class _UnknownError(Exception):
    """The server does not report the account's privileges."""


def _missing_privileges(session: Session, vm: Any, required: Sequence[str]) -> list[str]:
    """The privileges that this session lacks on the VM.

    AuthorizationManager.HasPrivilegeOnEntities is of API 5.5, on vCenter as on ESXi. It needs System.View on
    the root, which an account with a role only on a lower object may lack.
    """
    manager = session.content.authorizationManager
    if manager is None:
        raise _UnknownError("the server has no AuthorizationManager")
    with faults.as_step_error("cannot read the account's privileges", session.endpoint):
        try:
            answer = manager.HasPrivilegeOnEntities([vm], session.key, list(required))
        except vim.fault.NotAuthenticated:
            raise
        except vmodl.MethodFault as fault:
            raise _UnknownError(faults.text(fault)) from fault
    granted = {
        privilege.privId: bool(privilege.isGranted)
        for entity in answer or ()
        for privilege in entity.privAvailability
    }
    if set(required) - set(granted):
        raise _UnknownError("the server does not report the privileges")
    return [privilege for privilege in required if not granted[privilege]]


def _lacking_message(session: Session, missing: Sequence[str]) -> str:
    return f"the account {session.user} lacks {_listing(missing)}"


def _listing(privileges: Sequence[str]) -> str:
    noun = "the privilege" if len(privileges) == 1 else "the privileges"
    return f"{noun} {' and '.join(f'{privilege} ({_CLIENT_NAMES[privilege]})' for privilege in privileges)}"
