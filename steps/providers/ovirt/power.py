"""Shutdown and start of a VM: never twice, and never where nothing is to be done; gracefully on request.

    up ──shutdown──> powering_down ──> down
     │                     │ after the grace period
     └──────stop───────────┴─────────> down

The engine remembers that it asked the guest: the VM is `powering_down` until it is down, or until the host
gives up. So an attempt after a killed one does not ask again.
"""

from __future__ import annotations

from typing import Final

import structlog

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.plan import PowerPlan
from steps.model.power import NOT_IN_TIME
from steps.providers.ovirt import routes, transfers
from steps.providers.ovirt.answers import Answer
from steps.providers.ovirt.engine import Engine
from steps.providers.ovirt.waiting import CLOCK, POLL_SECONDS

log = structlog.get_logger()

OFF: Final = "down"
_UP: Final = "up"
_ASKED: Final = "powering_down"
_SETTLING: Final = ("powering_up", "reboot_in_progress", "wait_for_launch", "migrating", _ASKED)
"""Statuses that end by themselves; the engine would answer a shutdown in some of them with a hard stop."""
STOP_SECONDS: Final = 300.0
"""How long a hard stop may take; if a host needs longer, the step is retried."""
START_SECONDS: Final = 300.0
"""How long a start may take."""


def power_off(engine: Engine, machine: Machine, policy: PowerPlan) -> None:
    """Shut down the VM by the policy; a VM that is off is not touched.

    Hours may have passed since preflight: before stopping a VM, this proves again what must work after that.

    Raises:
        StepError: POWER, if its status does not allow it; UNREACHABLE, if it is not off in time; NOT_FOUND,
            if it
            was deleted; the errors of `_check_export_possible`.
    """
    shutdown = _Shutdown(engine, machine)
    if not policy.force and shutdown.ask_guest(policy.grace_seconds):
        return
    if policy.never_force:
        shutdown.refuse_force(policy.grace_seconds)
    shutdown.stop_hard()


def power_on(engine: Engine, machine: Machine) -> None:
    """Start the VM and wait until it runs; one that runs is not touched.

    Raises:
        StepError: POWER, if its status does not allow a start, or it does not run in time; NOT_FOUND.
    """
    what = f"cannot start the VM {machine.path or machine.name}"
    end, is_requested = CLOCK() + START_SECONDS, False
    while (now := status(engine, machine)) != _UP:
        if now == OFF and not is_requested:
            log.info("starting the VM", vm=machine.name)
            try:
                engine.change(f"start the VM {machine.name}", f"/vms/{machine.source_id}/start", {})
                is_requested = True
            except StepError as error:
                if error.code is not Exit.BUSY:
                    raise
                log.info("the engine is busy with the VM", why=error.why)
        elif now not in (OFF, *_SETTLING):
            raise StepError(Exit.POWER, what, f"it is {now or 'in no known state'}", _BY_HAND)
        if CLOCK() > end:
            raise StepError(Exit.POWER, what, f"it is still {now} after {START_SECONDS:g} s", _BY_HAND)
        engine.stop.sleep(POLL_SECONDS)


def is_on(engine: Engine, machine: Machine) -> bool:
    """Whether the VM runs now. Raises StepError: NOT_FOUND, if it was deleted."""
    return status(engine, machine) in (_UP, *_SETTLING)


def status(engine: Engine, machine: Machine) -> str:
    """The VM's status as it is now. Raises StepError: NOT_FOUND, if it was deleted."""
    return read(engine, machine).text("status")


def read(engine: Engine, machine: Machine) -> Answer:
    """The VM as it is now, without details. Raises StepError: NOT_FOUND, if it was deleted."""
    found = engine.find(f"read the VM {machine.name}", f"/vms/{machine.source_id}")
    if not found:
        raise StepError(
            Exit.NOT_FOUND,
            f"the VM {machine.name} no longer exists",
            f"there is none with the id {machine.source_id}",
            "start a new import",
        )
    return found


class _Shutdown:
    """One VM that is to be shut down."""

    def __init__(self, engine: Engine, machine: Machine) -> None:
        self._engine = engine
        self._machine = machine
        self._what = f"cannot shut down the VM {machine.path or machine.name}"

    def ask_guest(self, grace_seconds: float) -> bool:
        """Let the guest shut down; False if the VM is not off after the grace period."""
        end, is_asked = CLOCK() + grace_seconds, False
        while (now := self._status()) != OFF:
            if now == _ASKED and not is_asked:
                log.info("the guest was asked before")
                is_asked = True
            elif now == _UP and not is_asked:
                self._check_export_possible()
                log.info("asking the guest to shut down", vm=self._machine.name)
                if self._request("shutdown"):
                    is_asked, end = True, CLOCK() + grace_seconds
            elif now not in (_UP, *_SETTLING):
                raise StepError(Exit.POWER, self._what, f"it is {now or 'in no known state'}", _BRING)
            if CLOCK() >= end:
                log.warning("the guest has not shut down in time", seconds=grace_seconds)
                return False
            self._engine.stop.sleep(POLL_SECONDS)
        return True

    def refuse_force(self, seconds: float) -> None:
        """Raise StepError (POWER): the policy forbids a hard stop."""
        raise StepError(
            Exit.POWER, self._what, f"{NOT_IN_TIME}{seconds:g} s", "shut it down by hand, then retry"
        )

    def stop_hard(self) -> None:
        """Stop the VM without its guest."""
        end, is_requested = CLOCK() + STOP_SECONDS, False
        while (now := self._status()) != OFF:
            if not is_requested:
                if now in ("suspended", "saving_state", "restoring_state"):
                    raise StepError(Exit.POWER, self._what, f"it is {now}", _BRING)
                self._check_export_possible()  # the guest may have been asked long ago, by an earlier attempt
                log.info("stopping the VM hard", vm=self._machine.name)
                is_requested = self._request("stop")
            if CLOCK() >= end:
                why = f"it is still {now} after {STOP_SECONDS:g} s"
                raise StepError(Exit.UNREACHABLE, self._what, why, "check its host at the source")
            self._engine.stop.sleep(POLL_SECONDS)

    def _status(self) -> str:
        return status(self._engine, self._machine)

    def _request(self, action: str) -> bool:
        """Ask the engine; False if it is busy with the VM, so that it must be asked again."""
        path = f"/vms/{self._machine.source_id}/{action}"
        try:
            self._engine.change(f"shut down the VM {self._machine.name}", path, {})
        except StepError as error:
            if error.code not in (Exit.BUSY, Exit.POWER, Exit.INVALID):
                raise
            if self._status() == OFF:
                return True
            if error.code is not Exit.BUSY:
                raise StepError(Exit.POWER, self._what, error.why, _BRING) from error
            log.info("the engine is busy with the VM", why=error.why)
            return False
        return True

    def _check_export_possible(self) -> None:
        """Prove that the disks can be transferred from here, and that the account may do it.

        A transfer of a disk of a running VM is always refused, but for a missing permission, an illegal disk
        or a storage domain that is not active the engine refuses it earlier, with that reason (ENG
        TransferDiskImageCommand, getPermissionCheckSubjects and validate).

        Raises:
            StepError: as `routes.check`; DENIED; UNSUPPORTED.
        """
        routes.check(self._engine, read(self._engine, self._machine).text("cluster", "id"))
        for disk in self._machine.disks:
            try:
                transfers.request_refused(self._engine, disk.key, self._what)
            except StepError as error:
                if error.code in (Exit.DENIED, Exit.UNSUPPORTED, Exit.NOT_FOUND):
                    why = f"{disk.id} ({disk.label}): {error.why}"
                    raise StepError(error.code, self._what, why, error.remedy) from error
                log.debug("a transfer of a running VM's disk is refused", disk=disk.id, why=error.why)


_BY_HAND: Final = "see the events of the engine, then start the VM by hand"
_BRING: Final = "bring the VM to up or down at the source"
