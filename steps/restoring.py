"""Starts a VM again at its source, once: after the import that shut it down has failed or is undone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import structlog

from steps.model.contract import NoAnswerError, StepError
from steps.model.machine import Machine, Power
from steps.model.plan import Plan
from steps.model.restore import Restored, RestoreState
from steps.providers import Provider
from steps.runtime.stop import Stop

log = structlog.get_logger()

POLL_SECONDS: Final = 2.0
SHUTDOWN_SLACK: Final = 120.0
"""Seconds over the grace period for a shutdown that the import began and did not see to its end."""


def restore_power(
    provider: Provider,
    plan: Plan,
    machine: Machine,
    stop: Stop,
    *,
    undo: bool,
    clock: Callable[[], float] = time.monotonic,
) -> Restored:
    """Start the VM again, if it ran when the import began and the import shut it down.

    A second call does nothing: the source's own records show that the VM was started since the shutdown, even
    if somebody has stopped it again. With `undo` a person asks for it, and only the state before the import
    counts.

    A failure is part of the result, as the exit handler must not fail because of it.

    Raises:
        NoAnswerError: the source does not answer; `with_source` waits for it.
    """
    name = machine.path or machine.name
    if machine.power is not Power.ON:
        message = f"{name} was off at its source before the import and stays off" if undo else ""
        return Restored(message=message)
    try:
        if not undo and not _is_ours_to_start(provider, machine):
            return Restored()
        _await_shutdown(provider, plan, machine, stop, clock)
        provider.power_on(machine)
    except NoAnswerError:
        raise
    except StepError as error:
        log.warning(f"could not start the VM again: {error}")
        return Restored(
            state=RestoreState.FAILED, message=f"{name} is not started again at its source: {error}"
        )
    log.info("the VM runs again at its source", vm=machine.name)
    return Restored(
        state=RestoreState.STARTED,
        message=f"{name} was started again at its source; what was copied from it is stale",
    )


def not_halted(machine: Machine | None) -> Restored:
    """The result when the VM at the target could not be stopped: both must never run."""
    if machine is None or machine.power is not Power.ON:
        return Restored()
    name = machine.path or machine.name
    message = (
        f"{name} stays off at its source: the VM at the target could not be stopped, and both must never run "
        "at the same time; stop the VM at the target, then run `vmferry undo`"
    )
    return Restored(state=RestoreState.FAILED, message=message)


def _is_ours_to_start(provider: Provider, machine: Machine) -> bool:
    return machine.mark is not None and provider.was_shut_down_since(machine, machine.mark)


def _await_shutdown(
    provider: Provider, plan: Plan, machine: Machine, stop: Stop, clock: Callable[[], float]
) -> None:
    """Wait for the end of a shutdown under way: an import may be cancelled in the middle of one.

    Afterwards the VM is off, or its guest ignores the request and runs on; both are fine for a start.
    """
    end = clock() + plan.power.grace_seconds + SHUTDOWN_SLACK
    while provider.is_on(machine) and clock() < end:
        if not (machine.mark and provider.was_shut_down_since(machine, machine.mark)):
            return
        stop.sleep(POLL_SECONDS)
