"""Starts a VM again at its source after a failure: once, and only if the import shut it down."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine, Power
from steps.model.plan import OnFailure, Plan, PowerPlan
from steps.model.restore import Restored, RestoreState, must_restore
from steps.restoring import not_halted, restore_power
from steps.runtime.stop import Stop
from tests.unit.builders import a_machine, a_plan
from tests.unit.power import PowerSource


class Clock(Stop):
    """Time passes only while something sleeps."""

    now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def __call__(self) -> float:
        return self.now


def imported(power: Power = Power.ON) -> tuple[PowerSource, Machine]:
    """A source, and its VM as preflight found it."""
    source = PowerSource(a_machine(power=power), is_running=power is Power.ON)
    return source, source.machine.model_copy(update={"mark": source.power_mark(source.machine)})


def restore(source: PowerSource, machine: Machine, *, undo: bool = False) -> Restored:
    clock = Clock()
    return restore_power(source, a_plan(), machine, clock, undo=undo, clock=clock)


def test_a_vm_that_the_import_shut_down_is_started() -> None:
    source, machine = imported()
    source.power_off(machine, PowerPlan())
    restored = restore(source, machine)
    assert restored.state is RestoreState.STARTED
    assert "started again at its source" in restored.message
    assert source.is_running


def test_a_second_call_does_not_start_it_again() -> None:
    source, machine = imported()
    source.power_off(machine, PowerPlan())
    restore(source, machine)
    source.stop("alice")
    assert restore(source, machine) == Restored()
    assert not source.is_running


def test_it_is_started_again_after_a_second_shutdown_by_the_import() -> None:
    source, machine = imported()
    source.power_off(machine, PowerPlan())
    restore(source, machine)
    source.power_off(machine, PowerPlan())
    assert restore(source, machine).state is RestoreState.STARTED


def test_a_vm_that_somebody_else_shut_down_stays_off() -> None:
    source, machine = imported()
    source.stop("alice")
    source.power_off(machine, PowerPlan())
    assert restore(source, machine) == Restored()
    assert not source.is_running


def test_a_vm_that_was_off_before_stays_off() -> None:
    source, machine = imported(Power.OFF)
    assert restore(source, machine) == Restored()
    assert not source.is_running


def test_a_shutdown_under_way_is_awaited() -> None:
    source, machine = imported()
    source.power_off(machine, PowerPlan())
    source.slow = 3
    assert restore(source, machine).state is RestoreState.STARTED
    assert source.slow == 0


def test_a_start_that_fails_is_reported_and_does_not_raise() -> None:
    source, machine = imported()
    source.power_off(machine, PowerPlan())
    source.fails = StepError(Exit.POWER, "cannot power on", "no host has room")
    restored = restore(source, machine)
    assert restored.state is RestoreState.FAILED
    assert "no host has room" in restored.message


def test_undo_starts_a_vm_that_somebody_shut_down_later() -> None:
    source, machine = imported()
    source.power_off(machine, PowerPlan())
    source.start("alice")
    source.stop("alice")
    assert restore(source, machine, undo=True).state is RestoreState.STARTED


def test_undo_leaves_a_vm_off_that_was_off_before() -> None:
    source, machine = imported(Power.OFF)
    restored = restore(source, machine, undo=True)
    assert restored.state is RestoreState.NOTHING
    assert "stays off" in restored.message
    assert not source.is_running


def test_without_a_stopped_target_the_source_stays_off() -> None:
    _, machine = imported()
    assert not_halted(machine).state is RestoreState.FAILED
    assert "must never run" in not_halted(machine).message
    assert not_halted(None) == Restored()


def planned(on_failure: OnFailure) -> Plan:
    return a_plan().model_copy(update={"on_failure": on_failure})


@pytest.mark.parametrize(
    ("on_failure", "outcome", "undo", "wanted"),
    [
        (OnFailure.KEEP_OFF, "Failed", False, False),
        (OnFailure.RESTORE_POWER, "Failed", False, True),
        (OnFailure.RESTORE_POWER, "Error", False, True),
        (OnFailure.RESTORE_POWER, "Succeeded", False, False),
        (OnFailure.RESTORE_POWER, "", False, False),
        (OnFailure.KEEP_OFF, "Succeeded", True, True),
    ],
)
def test_who_is_started_again(on_failure: Any, outcome: str, undo: bool, wanted: bool) -> None:
    assert must_restore(planned(on_failure), outcome, undo=undo) is wanted
