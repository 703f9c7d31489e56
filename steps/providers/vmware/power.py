"""Shutdown of a VM: never twice, never if it is off, gracefully on request."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import structlog
from pydantic import ValidationError
from pyVmomi import vim

from steps.model.contract import Exit, StepError
from steps.model.document import Document
from steps.model.machine import Machine, Power
from steps.model.plan import PowerPlan
from steps.model.power import NOT_IN_TIME
from steps.providers.vmware import collector, describe, faults, hosts, privileges, shutdown_request
from steps.providers.vmware.session import Session

log = structlog.get_logger()

POLL_SECONDS: Final = 1.0
TASK_SECONDS: Final = 300.0
"""How long a PowerOffVM_Task may take; if a host needs longer, the step is retried."""
_POWER_OFF: Final = "VirtualMachine.powerOff"
"""TaskInfo.descriptionId of PowerOffVM_Task."""
STALE_SECONDS: Final = 600.0
"""A request counts this long after its grace period: the next attempt begins a minute later at most
(workflows/stages.py), and its pod may start late. After that the guest is asked again."""
_MANUAL_REMEDY: Final = (
    "shut the VM down by hand, start VMware Tools in it, or set spec.powerOffWithoutGuestTools: true"
)

_BY_HAND: Final = "shut it down by hand, then retry"

TimeFunction = Callable[[], float]


class ShutdownNote(Document):
    """The note that the guest of a VM was asked to shut down, for the next attempt.

    Without it a retry would find a guest that is shutting down, whose Tools have already stopped, and report
    a VM without Tools. The note need not outlive a pod: vSphere records the request (shutdown_request.py).
    """

    moid: str
    at: float
    """Seconds since the epoch."""
    state: Literal["asking", "asked"]


class _Shutdown:
    """One VM, the policy, and the note between attempts."""

    def __init__(
        self, session: Session, machine: Machine, policy: PowerPlan, state_folder: Path, clock: TimeFunction
    ) -> None:
        self.session = session
        self.vm = session.vm(machine)
        self.what = f"cannot power off {machine.path or machine.name}"
        self.grace_seconds = policy.grace_seconds
        self._note_file = state_folder / f"shutdown-{machine.source_id}.json"
        self._clock = clock

    def read_state(self) -> collector.Row:
        """The state as it is now."""
        return collector.read_one(
            self.session, self.vm, "runtime.powerState", "guest.toolsRunningStatus", "recentTask"
        )

    def read_task(self, ref: Any) -> collector.Row:
        """A task of the VM."""
        return shutdown_request.read_task(self.session, ref)

    def is_off(self) -> bool:
        power = describe.power(self.read_state())
        if power is Power.SUSPENDED:
            raise StepError(Exit.POWER, self.what, "it is suspended", "resume it and shut it down")
        return power is Power.OFF

    def wait_until_off(self, deadline: float) -> bool:
        """Wait until the VM is off; False if it is not off at that time. Raises Stopped."""
        while not self.is_off():
            if self._clock() >= deadline:
                return False
            self.session.stop.sleep(POLL_SECONDS)
        return True

    def write_note(self, state: Literal["asking", "asked"]) -> None:
        self._note_file.parent.mkdir(parents=True, exist_ok=True)
        ShutdownNote(moid=self.vm._moId, at=self.now(), state=state).save(self._note_file)

    def read_note(self) -> ShutdownNote | None:
        """The note of an earlier attempt, unless it is too old."""
        try:
            note = ShutdownNote.model_validate_json(self._note_file.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        return note if 0 <= self.now() - note.at < self.grace_seconds + STALE_SECONDS else None

    def requested_at(self) -> float | None:
        """When the guest was first asked (clock time), by this attempt or an earlier one; None if it was not.

        For an attempt that was killed while asking, vSphere's records count. Without them, the
        guest's Tools count: if they have stopped, the guest is shutting down.
        """
        note = self.read_note()
        if note is not None and note.state == "asked":
            return note.at
        elapsed = shutdown_request.seconds_since_request(
            self.session, self.vm, self.grace_seconds + STALE_SECONDS
        )
        if elapsed is not None:
            return self.now() - elapsed
        return note.at if note is not None and not describe.tools_running(self.read_state()) else None

    def check_export_possible(self) -> None:
        """Prove that the steps after the power-off can work: the network path to the disks, the privileges.

        Raises:
            StepError: as `hosts.check` and `privileges.check`.
        """
        hosts.check(self.session, self.vm)
        privileges.check(self.session, self.vm, self.what)

    def remove_note(self) -> None:
        self._note_file.unlink(missing_ok=True)

    def now(self) -> float:
        return self._clock()


def power_off(
    session: Session,
    machine: Machine,
    policy: PowerPlan,
    state_folder: Path,
    *,
    clock: TimeFunction = time.time,
) -> None:
    """Shut down the VM by the policy; a VM that is off is not touched.

    This uses the wall clock, as the grace period continues while no attempt is alive.

    Hours may have passed since preflight: before stopping a VM, this proves again what must work after that.

    Raises:
        StepError: POWER if it is suspended, or its guest cannot be asked; NOT_FOUND if it was deleted; the
            errors of `_Shutdown.check_export_possible`.
    """
    shutdown = _Shutdown(session, machine, policy, state_folder, clock)
    if shutdown.is_off():
        log.info("the machine is off already", vm=machine.name)
    elif not _finish_running_power_off(shutdown) and (policy.force or not _shut_down_guest(shutdown, policy)):
        if policy.never_force:
            raise StepError(Exit.POWER, shutdown.what, f"{NOT_IN_TIME}{shutdown.grace_seconds} s", _BY_HAND)
        shutdown.check_export_possible()  # the guest may have been asked long ago, by an earlier attempt
        _power_off_hard(shutdown)
    shutdown.remove_note()


def _finish_running_power_off(shutdown: _Shutdown) -> bool:
    """Wait for a running power-off, such as a killed attempt's; False if there is none."""
    for task in map(shutdown.read_task, _recent_tasks(shutdown)):
        if task.get("info.descriptionId") == _POWER_OFF and task.get("info.state") in ("queued", "running"):
            log.info("a power-off is under way")
            return shutdown.wait_until_off(shutdown.now() + TASK_SECONDS)
    return False


def _recent_tasks(shutdown: _Shutdown) -> Sequence[Any]:
    """The VM's running and recent tasks (ManagedEntity.recentTask)."""
    tasks: Sequence[Any] = shutdown.read_state().get("recentTask", ())
    return tasks


def _shut_down_guest(shutdown: _Shutdown, policy: PowerPlan) -> bool:
    """Let the guest shut down; False if the VM is not off after the grace period, or may be powered off."""
    requested_at = shutdown.requested_at()
    if requested_at is not None:
        log.info("the guest was asked before", seconds_ago=round(shutdown.now() - requested_at))
    else:
        if not describe.tools_running(shutdown.read_state()):
            if shutdown.is_off():
                return True
            if policy.force_without_tools:
                log.warning("VMware Tools are not running in the guest, so it cannot be asked")
                return False
            raise StepError(Exit.POWER, shutdown.what, "VMware Tools are not running in it", _MANUAL_REMEDY)
        shutdown.check_export_possible()
        shutdown.write_note("asking")
        if not _request_shutdown(shutdown, policy):
            return False
        shutdown.write_note("asked")
        requested_at = shutdown.now()
    if shutdown.wait_until_off(requested_at + shutdown.grace_seconds):
        return True
    log.warning("the guest has not shut down in time", seconds=shutdown.grace_seconds)
    return False


def _request_shutdown(shutdown: _Shutdown, policy: PowerPlan) -> bool:
    """VirtualMachine.ShutdownGuest: returns at once; the guest may take long, or never shut down.

    False if its Tools have stopped meanwhile, and the VM may then be powered off.
    """
    log.info("asking the guest to shut down")
    with faults.as_step_error(shutdown.what, shutdown.session.endpoint):
        try:
            shutdown.vm.ShutdownGuest()
        except (vim.fault.ToolsUnavailable, vim.fault.InvalidPowerState) as fault:
            if shutdown.is_off():
                return True
            if policy.force_without_tools and isinstance(fault, vim.fault.ToolsUnavailable):
                log.warning("VMware Tools have stopped in the guest, so it cannot be asked")
                return False
            raise StepError(Exit.POWER, shutdown.what, faults.text(fault), _MANUAL_REMEDY) from fault
    return True


def _power_off_hard(shutdown: _Shutdown) -> None:
    """VirtualMachine.PowerOffVM_Task, once; a VM that is off by then counts as success."""
    log.info("powering off hard")
    with faults.as_step_error(shutdown.what, shutdown.session.endpoint):
        try:
            task = shutdown.vm.PowerOffVM_Task()
        except vim.fault.InvalidPowerState:
            task = None
    error = _await_task(shutdown, task) if task is not None else None
    if not shutdown.wait_until_off(shutdown.now() + (0 if error is not None else POLL_SECONDS)):
        if error is not None:
            raise faults.from_fault(shutdown.what, error)
        raise StepError(Exit.POWER, shutdown.what, "it is on again", "find out what turns it on")


def _await_task(shutdown: _Shutdown, task: Any) -> Any:
    """Wait for a task; returns its fault, or None on success (TaskInfo.state, TaskInfo.error)."""
    deadline = shutdown.now() + TASK_SECONDS
    while True:
        row = collector.read_one(shutdown.session, task, "info.state", "info.error")
        if row.get("info.state") in ("success", "error"):
            return row.get("info.error")
        if shutdown.now() >= deadline:
            raise StepError(
                Exit.UNREACHABLE, shutdown.what, "the host did not power it off in time", "it is tried again"
            )
        shutdown.session.stop.sleep(POLL_SECONDS)
