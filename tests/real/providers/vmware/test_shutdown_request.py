"""vSphere knows whether the guest was asked to shut down: a killed pod needs no note of its own."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from steps.model.contract import Exit
from steps.model.machine import Machine
from steps.model.plan import Plan, PowerPlan
from steps.providers import Access, connect
from steps.providers.vmware import shutdown_request
from steps.providers.vmware.session import Session, log_in, log_out
from tests.real.e2e.harness import until
from tests.real.providers.vmware.conftest import MakeAccess
from tests.real.simulator import Simulator, StartSimulator, make_access
from tests.unit import builders

pytestmark = pytest.mark.vcenter


def request(access: Access, folder: Path, vm: str, grace: int) -> Machine:
    """The files in a pod's /request; the VM is as preflight found it."""
    with connect(access) as source:
        machine = source.describe(vm, None)
    plan = builders.a_plan(vm=vm).model_copy(
        update={"source": access.plan, "power": PowerPlan(grace_seconds=grace)}
    )
    folder.mkdir()
    Plan.model_validate(plan.model_dump()).save(folder / "plan.json")
    machine.save(folder / "machine.json")
    return machine


@contextmanager
def pod(access: Access, folder: Path, number: int) -> Iterator[subprocess.Popen[bytes]]:
    """The step as a process, with its own empty /tmp."""
    scratch = folder / f"tmp-{number}"
    scratch.mkdir()
    argv: list[str | Path] = [
        sys.executable,
        "-m",
        "steps.poweroff",
        "--request",
        folder / "request",
        "--scratch",
        scratch,
    ]
    argv += ["--credentials", access.credentials, "--outputs", scratch]
    with (
        (folder / f"log-{number}").open("wb") as log,
        subprocess.Popen(argv, stderr=log) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def killed_during_the_request(vcenter: Simulator, access: Access, folder: Path, when: str = "after") -> None:
    """A first pod that is killed before it gets the answer to ShutdownGuest."""
    vcenter.hold("ShutdownGuest", when)
    with pod(access, folder, 1) as process:
        assert vcenter.held(30)
        process.kill()
    vcenter.release()


def when(vcenter: Simulator, method: str) -> datetime:
    (call,) = vcenter.calls(method)
    return datetime.fromisoformat(call["time"])


def finished(vcenter: Simulator, access: Access, folder: Path, vm: str) -> tuple[int, str, int, int]:
    """Run a second pod to its end: exit code, the VM's power, calls of ShutdownGuest and PowerOffVM_Task."""
    with pod(access, folder, 2) as process:
        code = process.wait(60)
    found = vcenter.vm(vm)
    return code, found["power"], found["shutdowns"], found["powerOffs"]


def test_the_shutdown_request_of_a_killed_pod_is_not_repeated(
    vcenter: Simulator, access: MakeAccess, tmp_path: Path
) -> None:
    given = access(step="poweroff")
    request(given, tmp_path / "request", "killed", grace=60)
    killed_during_the_request(vcenter, given, tmp_path)
    with pod(given, tmp_path, 2) as process:
        until(lambda: b"the guest was asked before" in (tmp_path / "log-2").read_bytes())
        vcenter.set_power("killed", "off")
        assert process.wait(30) == Exit.DONE
    found = vcenter.vm("killed")
    assert (found["power"], found["shutdowns"], found["powerOffs"]) == ("off", 1, 0)
    assert shutdown_request.TASK in [task["descriptionId"] for task in vcenter.tasks()]


def test_stopped_tools_mean_a_shutdown_in_progress(
    vcenter: Simulator, access: MakeAccess, tmp_path: Path
) -> None:
    given = access(step="poweroff")
    request(given, tmp_path / "request", "killed-tools-end", grace=60)
    killed_during_the_request(vcenter, given, tmp_path)
    vcenter.set_vm("killed-tools-end", tools="notRunning")
    with pod(given, tmp_path, 2) as process:
        until(lambda: b"the guest was asked before" in (tmp_path / "log-2").read_bytes())
        vcenter.set_power("killed-tools-end", "off")
        assert process.wait(30) == Exit.DONE
    assert vcenter.vm("killed-tools-end")["shutdowns"] == 1


def test_the_grace_period_counts_from_the_first_request(
    vcenter: Simulator, access: MakeAccess, tmp_path: Path
) -> None:
    grace, late = 10, 9  # how late a loaded host may be
    given = access(step="poweroff")
    request(given, tmp_path / "request", "killed-stubborn", grace=grace)
    vcenter.forget_calls()
    killed_during_the_request(vcenter, given, tmp_path)
    first = when(vcenter, "ShutdownGuest")
    until(lambda: (datetime.now(first.tzinfo) - first).total_seconds() > late)
    assert finished(vcenter, given, tmp_path, "killed-stubborn") == (Exit.DONE, "off", 1, 1)
    waited = (when(vcenter, "PowerOffVM_Task") - first).total_seconds()
    assert grace <= waited < grace + late


def test_a_lost_shutdown_request_is_repeated(vcenter: Simulator, access: MakeAccess, tmp_path: Path) -> None:
    given = access(step="poweroff")
    request(given, tmp_path / "request", "killed-before", grace=60)
    vcenter.forget_calls()
    killed_during_the_request(vcenter, given, tmp_path, "before")
    with pod(given, tmp_path, 2) as process:
        assert process.wait(60) == Exit.DONE
    assert len([task for task in vcenter.tasks() if task["entityName"] == "killed-before"]) == 1
    assert vcenter.vm("killed-before")["power"] == "off"


@contextmanager
def logged_in(access: Access) -> Iterator[Session]:
    session = log_in(access)
    try:
        yield session
    finally:
        log_out(session)


def test_tasks_and_events_show_whether_the_guest_was_asked(
    vcenter: Simulator, access: MakeAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = access()
    with connect(given) as source:
        machine = source.describe("remembered", None)
    with logged_in(given) as session:
        vm = session.vm(machine)
        assert shutdown_request.seconds_since_request(session, vm, 60) is None
        vm.ShutdownGuest()
        by_tasks_and_events = shutdown_request.seconds_since_request(session, vm, 60)
        assert by_tasks_and_events is not None
        assert 0 <= by_tasks_and_events < 30
        assert shutdown_request.seconds_since_request(session, vm, 0) is None
        other = dataclasses.replace(session, user="somebody@else")
        assert shutdown_request.seconds_since_request(other, vm, 60) is None
        assert (
            shutdown_request.seconds_since_request(
                dataclasses.replace(session, user=session.user.upper()), vm, 60
            )
            is not None
        )
        with monkeypatch.context() as patch:  # vCenter forgets ended tasks; the events stay
            patch.setattr(shutdown_request, "_task_times", lambda *_: iter(()))
            assert shutdown_request.seconds_since_request(session, vm, 60) is not None
        vcenter.set_power("remembered", "off")
        vcenter.set_power("remembered", "on")
        assert shutdown_request.seconds_since_request(session, vm, 60) is None


def test_a_server_without_readable_events_uses_its_tasks(
    tmp_path: Path, start_simulator: StartSimulator
) -> None:
    """The simulated host does not support QueryEvents: its tasks must be enough."""
    machine = {"name": "alone", "power": "on", "ignoresShutdown": True, "disks": [{"capacity": 1 << 20}]}
    given = {"kind": "esxi", "datacenters": [{"name": "ha-datacenter", "vms": [machine]}]}
    access = make_access(start_simulator(given), tmp_path)
    with connect(access) as source:
        found = source.describe("alone", None)
    with logged_in(access) as session:
        session.vm(found).ShutdownGuest()
        assert shutdown_request.seconds_since_request(session, session.vm(found), 60) is not None
