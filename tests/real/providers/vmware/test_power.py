"""Shuts a VM down, exactly once."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from steps.model.contract import Exit, StepError, Stopped
from steps.model.machine import Machine, Power
from steps.model.plan import PowerPlan
from steps.providers import Access, connect
from steps.providers.vmware import describe, power
from steps.providers.vmware.collector import Row
from steps.providers.vmware.power import ShutdownNote
from steps.providers.vmware.session import log_in, log_out
from tests.real.providers.vmware.conftest import MakeAccess
from tests.real.simulator import Simulator

pytestmark = pytest.mark.vcenter


def shut_down(access: Access, vm: str, policy: PowerPlan | None = None) -> None:
    with connect(access) as source:
        source.power_off(source.describe(vm, None), policy or PowerPlan())


def refused(access: Access, vm: str, policy: PowerPlan | None = None) -> StepError:
    with pytest.raises(StepError) as caught:
        shut_down(access, vm, policy)
    return caught.value


def counts(vcenter: Simulator, vm: str) -> tuple[str, int, int]:
    """Power state, calls of ShutdownGuest, calls of PowerOffVM_Task."""
    found = vcenter.vm(vm)
    return found["power"], found["shutdowns"], found["powerOffs"]


def tasks(vcenter: Simulator, vm: str) -> list[str]:
    return [task["descriptionId"] for task in vcenter.tasks() if task["entityName"] == vm]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "POLL_SECONDS", 0.05)


@pytest.mark.parametrize("force", [False, True])
def test_a_vm_that_is_off_gets_no_power_operation(
    vcenter: Simulator, access: MakeAccess, force: bool
) -> None:
    shut_down(access(), "off", PowerPlan(force=force))
    assert counts(vcenter, "off") == ("off", 0, 0)
    assert tasks(vcenter, "off") == []


@pytest.mark.parametrize("vm", ["polite", "slow"])
def test_the_guest_is_asked_once(vcenter: Simulator, access: MakeAccess, vm: str) -> None:
    asked = access()
    shut_down(asked, vm)
    shut_down(asked, vm)
    assert counts(vcenter, vm) == ("off", 1, 0)
    assert list(asked.state_folder.iterdir()) == []


def test_force_powers_off_at_once(vcenter: Simulator, access: MakeAccess) -> None:
    shut_down(access(), "forced", PowerPlan(force=True))
    assert counts(vcenter, "forced") == ("off", 0, 1)
    assert tasks(vcenter, "forced") == ["VirtualMachine.powerOff"]


def test_a_policy_can_forbid_to_power_off(vcenter: Simulator, access: MakeAccess) -> None:
    """As for imports of `v2v.kubevirt.io`."""
    policy = PowerPlan(grace_seconds=1, never_force=True)
    error = refused(access(), "stubborn-for-ever", policy)
    assert (error.code, error.why) == (Exit.POWER, "the guest did not shut down within 1 s")
    assert counts(vcenter, "stubborn-for-ever") == ("on", 1, 0)


def test_a_guest_that_never_shuts_down_is_powered_off(vcenter: Simulator, access: MakeAccess) -> None:
    shut_down(access(), "stubborn", PowerPlan(grace_seconds=1))
    assert counts(vcenter, "stubborn") == ("off", 1, 1)


def test_without_tools_the_vm_is_not_changed(vcenter: Simulator, access: MakeAccess) -> None:
    error = refused(access(), "no-tools")
    assert error.code is Exit.POWER
    assert "spec.powerOffWithoutGuestTools" in str(error)
    assert counts(vcenter, "no-tools") == ("on", 0, 0)


def test_without_tools_the_vm_is_powered_off_if_the_import_says_so(
    vcenter: Simulator, access: MakeAccess
) -> None:
    policy = PowerPlan(force_without_tools=True)
    shut_down(access(), "no-tools-forced", policy)
    assert counts(vcenter, "no-tools-forced") == ("off", 0, 1)
    shut_down(access(), "polite-with-choice", policy)
    assert counts(vcenter, "polite-with-choice") == ("off", 1, 0)


def test_tools_that_end_before_the_request_are_reported(vcenter: Simulator, access: MakeAccess) -> None:
    vcenter.hold("ShutdownGuest")
    with during(lambda: vcenter.set_vm("tools-end", tools="notRunning"), vcenter):
        error = refused(access(), "tools-end")
    assert error.code is Exit.POWER
    assert counts(vcenter, "tools-end")[0] == "on"


def test_a_vm_that_goes_off_before_the_request_is_success(vcenter: Simulator, access: MakeAccess) -> None:
    vcenter.hold("ShutdownGuest")
    with during(lambda: vcenter.set_power("race", "off"), vcenter):
        shut_down(access(), "race")
    assert counts(vcenter, "race")[0] == "off"


def test_a_vm_that_goes_off_before_the_power_off_is_success(vcenter: Simulator, access: MakeAccess) -> None:
    vcenter.hold("PowerOffVM_Task")
    with during(lambda: vcenter.set_power("hard-race", "off"), vcenter):
        shut_down(access(), "hard-race", PowerPlan(force=True))
    assert counts(vcenter, "hard-race")[0] == "off"


class during:  # noqa: N801 - reads as a word of the test
    """While the body runs: when a call is held, run something and release the call."""

    def __init__(self, act: object, vcenter: Simulator) -> None:
        self._thread = threading.Thread(target=self._run, args=(act, vcenter))

    @staticmethod
    def _run(act: object, vcenter: Simulator) -> None:
        assert vcenter.held(10)
        assert callable(act)
        act()
        vcenter.release()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()


def note(access: Access, machine: Machine, *, state: str, age: float) -> Path:
    path = access.state_folder / f"shutdown-{machine.source_id}.json"
    path.parent.mkdir(exist_ok=True)
    asked = ShutdownNote.model_validate({"moid": machine.source_id, "at": time.time() - age, "state": state})
    path.write_text(asked.to_json())
    return path


def test_a_retry_waits_for_the_guest_that_was_asked_before(vcenter: Simulator, access: MakeAccess) -> None:
    asked = access()
    with connect(asked) as source:
        machine = source.describe("twice", None)
        note(asked, machine, state="asked", age=0)
        vcenter.set_power("twice", "off")
        vcenter.set_power("twice", "on")
        threading.Timer(0.2, vcenter.set_power, ("twice", "off")).start()
        source.power_off(machine, PowerPlan(grace_seconds=30))
    assert counts(vcenter, "twice") == ("off", 0, 0)


def test_a_retry_treats_stopped_tools_as_a_shutdown_in_progress(
    vcenter: Simulator, access: MakeAccess
) -> None:
    asked = access()
    vcenter.set_power("no-tools", "on")
    with connect(asked) as source:
        machine = source.describe("no-tools", None)
        path = note(asked, machine, state="asking", age=0)
        threading.Timer(0.2, vcenter.set_power, ("no-tools", "off")).start()
        source.power_off(machine, PowerPlan(grace_seconds=30))
        assert not path.exists()
        vcenter.set_power("no-tools", "on")
        note(asked, machine, state="asked", age=3600)  # too old to be used
        with pytest.raises(StepError) as caught:
            source.power_off(machine, PowerPlan(grace_seconds=30))
    assert caught.value.code is Exit.POWER
    assert counts(vcenter, "no-tools") == ("on", 0, 0)


def test_a_retry_detects_an_unrecorded_request_to_the_guest(vcenter: Simulator, access: MakeAccess) -> None:
    asked = access()
    vcenter.set_power("unnoted", "on")
    with connect(asked) as source:
        machine = source.describe("unnoted", None)
        note(asked, machine, state="asking", age=0)
        killed = log_in(access(step="killed"))
        killed.vm(machine).ShutdownGuest()
        source.power_off(machine, PowerPlan(grace_seconds=30))
        log_out(killed)
    assert counts(vcenter, "unnoted") == ("off", 1, 0)


def test_a_stop_ends_the_wait_for_the_guest(vcenter: Simulator, access: MakeAccess) -> None:
    asked = access()
    vcenter.set_power("stubborn-too", "on")
    with connect(asked) as source:
        machine = source.describe("stubborn-too", None)
        threading.Timer(0.2, asked.stop.set).start()
        with pytest.raises(Stopped):
            source.power_off(machine, PowerPlan(grace_seconds=30))
    assert counts(vcenter, "stubborn-too")[0] == "on"
    assert list(asked.state_folder.iterdir()) != []  # the next attempt knows that the guest was asked


def test_a_suspended_vm_is_refused(access: MakeAccess, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(access()) as source:
        machine = source.describe("off", None)
        monkeypatch.setattr(describe, "power", lambda _: Power.SUSPENDED)
        with pytest.raises(StepError, match="cannot power off") as caught:
            source.power_off(machine, PowerPlan())
    assert caught.value.code is Exit.POWER
    assert "suspended" in str(caught.value)


def test_a_deleted_vm_is_not_found(access: MakeAccess) -> None:
    with connect(access()) as source:
        machine = source.describe("off", None).model_copy(update={"source_id": "vm-99999"})
        with pytest.raises(StepError) as caught:
            source.power_off(machine, PowerPlan())
    assert caught.value.code is Exit.NOT_FOUND


def test_a_power_off_in_progress_is_not_repeated(vcenter: Simulator, access: MakeAccess) -> None:
    """A killed attempt's task still runs: the simulator cannot show one, so its properties are replaced."""
    with connect(access()) as source:
        machine = source.describe("in-flight", None)
        task = Row(None, {"info.descriptionId": "VirtualMachine.powerOff", "info.state": "running"})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(power._Shutdown, "read_task", lambda *_: task)
            patch.setattr(power, "_recent_tasks", lambda _: [object()])
            threading.Timer(0.2, vcenter.set_power, ("in-flight", "off")).start()
            source.power_off(machine, PowerPlan(force=True))
    assert counts(vcenter, "in-flight") == ("off", 0, 0)
