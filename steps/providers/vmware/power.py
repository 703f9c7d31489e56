"""Shutting a machine down: never twice, never one that is off, gently where that is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import structlog
from pydantic import ValidationError
from pyVmomi import vim

from steps.contract import Exit, StepError
from steps.document import Document
from steps.machine import Machine, Power
from steps.plan import PowerPlan
from steps.providers.vmware import collector, describe, faults
from steps.providers.vmware.session import Session

log = structlog.get_logger()

POLL_SECONDS: Final = 1.0
TASK_SECONDS: Final = 300.0
"""How long a PowerOffVM_Task may take; a host that needs longer is in trouble: the step is tried again."""
_POWER_OFF: Final = "VirtualMachine.powerOff"
"""TaskInfo.descriptionId of PowerOffVM_Task."""
_SHUTDOWN: Final = "VirtualMachine.shutdownGuest"
"""What vCenter lists a ShutdownGuest as."""
_BY_HAND: Final = "shut the machine down by hand, start VMware Tools in it, or set spec.forcePowerOff: true"

Clock = Callable[[], float]


class Asked(Document):
    """The guest of a machine was asked to shut down: what the next attempt has to know.

    Without it a retry would find a guest that is shutting down, whose Tools have ended already, and call that
    a machine without Tools.
    """

    moid: str
    at: float
    """Seconds since the epoch."""
    state: Literal["asking", "asked"]
    before: tuple[str, ...] = ()
    """The machine's recent tasks at that time: one that is not among them may be the asking itself."""


class _Shutdown:
    """One machine, the policy, and the note between attempts."""

    def __init__(
        self, session: Session, machine: Machine, policy: PowerPlan, memory: Path, clock: Clock
    ) -> None:
        self.session = session
        self.vm = session.vm(machine)
        self.what = f"cannot power off {machine.path or machine.name}"
        self.grace = policy.grace_seconds
        self._note = memory / f"shutdown-{machine.source_id}.json"
        self._clock = clock

    def facts(self) -> collector.Row:
        """The state as it is now."""
        return collector.one(
            self.session, self.vm, "runtime.powerState", "guest.toolsRunningStatus", "recentTask"
        )

    def task(self, ref: Any) -> collector.Row:
        """A task of the machine; nothing is known of one that vSphere has forgotten in the meantime."""
        try:
            return collector.one(self.session, ref, "info.descriptionId", "info.state")
        except StepError as error:
            if error.code is not Exit.NOT_FOUND:
                raise
            return collector.Row(ref, {})

    def is_off(self) -> bool:
        power = describe.power(self.facts())
        if power is Power.SUSPENDED:
            raise StepError(Exit.POWER, self.what, "it is suspended", "resume it and shut it down")
        return power is Power.OFF

    def wait_off(self, deadline: float) -> bool:
        """Wait until the machine is off; False when it is not by then (on the clock). Raises Stopped."""
        while not self.is_off():
            if self._clock() >= deadline:
                return False
            self.session.stop.sleep(POLL_SECONDS)
        return True

    def note(self, state: Literal["asking", "asked"]) -> None:
        before = tuple(ref._moId for ref in _earlier(self))
        self._note.parent.mkdir(parents=True, exist_ok=True)
        Asked(moid=self.vm._moId, at=self.now(), state=state, before=before).save(self._note)

    def noted(self) -> Asked | None:
        """What an earlier attempt noted, unless its time of grace is over: then it says nothing any more."""
        try:
            asked = Asked.model_validate_json(self._note.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        return asked if 0 <= self.now() - asked.at < self.grace else None

    def forget(self) -> None:
        self._note.unlink(missing_ok=True)

    def now(self) -> float:
        return self._clock()


def power_off(
    session: Session, machine: Machine, policy: PowerPlan, memory: Path, *, clock: Clock = time.time
) -> None:
    """Shut the machine down as the policy says; one that is off is not touched.

    The clock is the wall's, as the time of grace goes on while no attempt is alive.

    Raises:
        StepError: POWER when it is suspended, or its guest cannot be asked; NOT_FOUND when it is gone.
    """
    shutdown = _Shutdown(session, machine, policy, memory, clock)
    if shutdown.is_off():
        log.info("the machine is off already", vm=machine.name)
    elif not _finish_earlier(shutdown) and (policy.force or not _gently(shutdown)):
        _hard(shutdown)
    shutdown.forget()


def _finish_earlier(shutdown: _Shutdown) -> bool:
    """Wait for a power-off that is under way, such as a killed attempt's; False when there is none."""
    for task in map(shutdown.task, _earlier(shutdown)):
        if task.get("info.descriptionId") == _POWER_OFF and task.get("info.state") in ("queued", "running"):
            log.info("a power-off is under way")
            return shutdown.wait_off(shutdown.now() + TASK_SECONDS)
    return False


def _earlier(shutdown: _Shutdown) -> Sequence[Any]:
    """The machine's tasks that run or ended lately (ManagedEntity.recentTask)."""
    found: Sequence[Any] = shutdown.facts().get("recentTask", ())
    return found


def _gently(shutdown: _Shutdown) -> bool:
    """Have the guest shut itself down; False when it is not off after the time of grace."""
    earlier = shutdown.noted()
    running = describe.tools_running(shutdown.facts())
    if not running and earlier is None:
        raise StepError(Exit.POWER, shutdown.what, "VMware Tools are not running in it", _BY_HAND)
    since = earlier.at if earlier is not None else shutdown.now()
    if running and not _was_asked(shutdown, earlier):
        shutdown.note("asking")
        _ask(shutdown)
        shutdown.note("asked")
        since = shutdown.now()
    if shutdown.wait_off(since + shutdown.grace):
        return True
    log.warning("the guest has not shut down in time: powering off hard", seconds=shutdown.grace)
    return False


def _was_asked(shutdown: _Shutdown, earlier: Asked | None) -> bool:
    """Whether the asking of an earlier attempt, killed before it could note so, has reached the guest.

    vCenter lists the call among the machine's tasks. Where none is listed the guest is asked again: harmless.
    """
    if earlier is None or earlier.state == "asked":
        return earlier is not None
    later = [ref for ref in _earlier(shutdown) if ref._moId not in earlier.before]
    return any(shutdown.task(ref).get("info.descriptionId") == _SHUTDOWN for ref in later)


def _ask(shutdown: _Shutdown) -> None:
    """VirtualMachine.ShutdownGuest: returns at once; the guest then takes its time, or never ends."""
    log.info("asking the guest to shut down")
    with faults.explained(shutdown.what, shutdown.session.endpoint):
        try:
            shutdown.vm.ShutdownGuest()
        except (vim.fault.ToolsUnavailable, vim.fault.InvalidPowerState) as fault:
            if shutdown.is_off():
                return
            raise StepError(Exit.POWER, shutdown.what, faults.text(fault), _BY_HAND) from fault


def _hard(shutdown: _Shutdown) -> None:
    """VirtualMachine.PowerOffVM_Task, once; a machine that went off in the meantime counts as done."""
    log.info("powering off hard")
    with faults.explained(shutdown.what, shutdown.session.endpoint):
        try:
            task = shutdown.vm.PowerOffVM_Task()
        except vim.fault.InvalidPowerState:
            task = None
    error = _outcome(shutdown, task) if task is not None else None
    if not shutdown.wait_off(shutdown.now() + (0 if error is not None else POLL_SECONDS)):
        if error is not None:
            raise faults.from_fault(shutdown.what, error)
        raise StepError(Exit.POWER, shutdown.what, "it is on again", "find out what turns it on")


def _outcome(shutdown: _Shutdown, task: Any) -> Any:
    """Wait for a task; its fault, or None when it succeeded (TaskInfo.state, TaskInfo.error)."""
    deadline = shutdown.now() + TASK_SECONDS
    while True:
        row = collector.one(shutdown.session, task, "info.state", "info.error")
        if row.get("info.state") in ("success", "error"):
            return row.get("info.error")
        if shutdown.now() >= deadline:
            raise StepError(
                Exit.UNREACHABLE, shutdown.what, "the host has not done it in time", "it is tried again"
            )
        shutdown.session.stop.sleep(POLL_SECONDS)
