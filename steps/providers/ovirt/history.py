"""The power history of a VM at an engine: when it stopped last, and who asked for that.

The engine writes `stop_time` each time the VM stops running (ENG ResourceManager, internalSetVmStatus) and
gives it for a VM that is off, too (VmMapper). So a VM that was started and is off again has another one. A
lock of the VM, as for a snapshot, also writes it: then nothing is proved, which counts as a start.

Who asked for a shutdown is in the events, the newest of which come first (SearchObjectAutoCompleter).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.power import PowerMark
from steps.providers.ovirt import power
from steps.providers.ovirt.answers import Answer
from steps.providers.ovirt.engine import Engine

SHUTDOWNS: Final = frozenset({33, 73, 76})
"""USER_STOP_VM, USER_INITIATED_SHUTDOWN_VM, USER_STOPPED_VM_INSTEAD_OF_SHUTDOWN (ENG AuditLogType)."""
STARTS: Final = frozenset({32, 153})
"""USER_RUN_VM, USER_STARTED_VM."""


def mark(engine: Engine, machine: Machine) -> PowerMark:
    """The present moment.

    Raises:
        StepError: NOT_FOUND, if the VM was deleted.
    """
    vm = power.read(engine, machine)
    newest = next(engine.pages("read the events", "/events", "event"), None)
    return PowerMark(
        time=vm.text("stop_time"),
        server=_installation(engine),
        position=newest.text("id") if newest else "",
        position_time=newest.text("time") if newest else "",
        scope="server",
    )


def started_since(engine: Engine, machine: Machine, mark: PowerMark) -> str | None:
    """Why the VM may have run since the mark, which was made when it was off; None if it has not.

    Raises:
        StepError: NOT_FOUND, if it was deleted.
    """
    vm = power.read(engine, machine)
    if _installation(engine) != mark.server:
        return "another engine answers than the one that shut it down"
    status, stopped = vm.text("status"), vm.text("stop_time")
    if status != power.OFF:
        return f"it is {status or 'in no known state'}"
    if not mark.time or stopped != mark.time:
        return f"it stopped again at {stopped or 'an unknown time'}"
    return None


def shut_down_since(engine: Engine, machine: Machine, mark: PowerMark) -> bool:
    """Whether this account asked for a shutdown since the mark, and nobody started the VM after that.

    Raises:
        StepError: DENIED, if the account sees no events.
    """
    if not mark.position:
        raise StepError(
            Exit.DENIED,
            f"it cannot be found out who shut down {machine.name}",
            "the account sees no event of the engine",
            "give it a role that reads events, or start the VM by hand",
        )
    account = engine.read("read the account's id", "").text("authenticated_user", "id")
    for event in _newer(engine, mark):
        if event.text("vm", "id") != machine.source_id:
            continue
        code = event.number("code")
        if code in STARTS:
            return False
        if code in SHUTDOWNS:
            return bool(account) and event.text("user", "id") == account
    return False


def _newer(engine: Engine, mark: PowerMark) -> Iterator[Answer]:
    """The events since the mark, the newest first."""
    last = int(mark.position) if mark.position.isdecimal() else 0
    for event in engine.pages("read the events", "/events", "event"):
        if (event.number("id") or 0) <= last:
            return
        yield event


def _installation(engine: Engine) -> str:
    return engine.read("read the engine's id", "").text("product_info", "instance_id")
