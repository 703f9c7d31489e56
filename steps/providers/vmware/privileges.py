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
_SHOWN: Final = {POWER_OFF: "Virtual machine > Interaction > Power off", EXPORT: "vApp > Export"}
"""As the vSphere Client calls them (vSphere Security, Defined Privileges)."""
_REMEDY: Final = "grant it to the account in the source's secret, on the VM or on a folder above it"


def concerns(session: Session, vm: Any, power: Power) -> Iterator[Concern]:
    """The privileges that the account lacks; a VM that is off need not be stopped.

    Raises:
        StepError: a broken connection, as mapped by faults.py.
    """
    try:
        missing = _missing(session, vm, (EXPORT,) if power is Power.OFF else (POWER_OFF, EXPORT))
    except _UnknownError as error:
        yield warn(
            "privileges-unknown",
            f"it is not known whether {session.user} may power off and export it: {error}",
            f"make sure that the account has {_listed((POWER_OFF, EXPORT))}",
        )
        return
    if missing:
        yield block("privilege-missing", _lacks(session, missing), _REMEDY)


def prove(session: Session, vm: Any, what: str) -> None:
    """Prove that the account may power off the VM and export it; passes if that cannot be checked.

    Raises:
        StepError: DENIED, beginning with `what`; a broken connection, as mapped by faults.py.
    """
    try:
        missing = _missing(session, vm, (POWER_OFF, EXPORT))
    except _UnknownError:
        return  # preflight has warned about it
    if missing:
        raise StepError(Exit.DENIED, what, _lacks(session, missing), _REMEDY)


class _UnknownError(Exception):
    """The server does not report the account's privileges."""


def _missing(session: Session, vm: Any, wanted: Sequence[str]) -> list[str]:
    """The privileges that this session lacks on the VM.

    AuthorizationManager.HasPrivilegeOnEntities is of API 5.5, on vCenter as on ESXi. It needs System.View on
    the root, which an account with a role only on a lower object may lack.
    """
    manager = session.content.authorizationManager
    if manager is None:
        raise _UnknownError("the server has no AuthorizationManager")
    with faults.explained("cannot read the account's privileges", session.endpoint):
        try:
            answer = manager.HasPrivilegeOnEntities([vm], session.key, list(wanted))
        except vim.fault.NotAuthenticated:
            raise
        except vmodl.MethodFault as fault:
            raise _UnknownError(faults.text(fault)) from fault
    said = {each.privId: bool(each.isGranted) for entity in answer or () for each in entity.privAvailability}
    if set(wanted) - set(said):
        raise _UnknownError("the server does not report the privileges")
    return [each for each in wanted if not said[each]]


def _lacks(session: Session, missing: Sequence[str]) -> str:
    return f"the account {session.user} lacks {_listed(missing)}"


def _listed(wanted: Sequence[str]) -> str:
    what = "the privilege" if len(wanted) == 1 else "the privileges"
    return f"{what} {' and '.join(f'{each} ({_SHOWN[each]})' for each in wanted)}"
