"""Missing privileges of the account are detected while the VM runs."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vmodl

from steps.model.contract import Exit, StepError
from steps.model.machine import Severity
from steps.model.plan import PowerPlan
from steps.providers import connect
from steps.providers.vmware.power import ShutdownNote
from steps.providers.vmware.session import log_in, log_out
from tests.real.simulator import Simulator, StartSimulator, make_access

pytestmark = pytest.mark.vcenter

SOURCES = Path(__file__).parents[4] / "docs" / "how-to" / "sources.md"
EXPORT, POWER_OFF = "VApp.Export", "VirtualMachine.Interact.PowerOff"
VMS: list[dict[str, Any]] = [
    {"name": "web", "power": "on", "shutdownSeconds": 0, "disks": [{"capacity": 1 << 20}]},
    {"name": "off", "disks": [{"capacity": 1 << 20}]},
]
KINDS = {"vcenter": ("DC0", "administrator@vsphere.local"), "esxi": ("ha-datacenter", "root")}


@pytest.fixture(params=KINDS)
def simulator(start_simulator: StartSimulator, request: pytest.FixtureRequest) -> Simulator:
    datacenter, _ = KINDS[request.param]
    return start_simulator({"kind": request.param, "datacenters": [{"name": datacenter, "vms": VMS}]})


def privileges(simulator: Simulator, folder: Path, vm: str = "web") -> dict[str, tuple[Severity, str]]:
    """preflight's concerns about the account's privileges."""
    with connect(make_access(simulator, folder)) as source:
        found = source.describe(vm, None).concerns
    return {one.code: (one.severity, str(one)) for one in found if one.code.startswith("privilege")}


@pytest.mark.parametrize("lacks", [(EXPORT,), (POWER_OFF,), (EXPORT, POWER_OFF)])
def test_preflight_names_each_missing_privilege(
    simulator: Simulator, tmp_path: Path, lacks: tuple[str, ...]
) -> None:
    simulator.set_lacks(*lacks)
    severity, words = privileges(simulator, tmp_path)["privilege-missing"]
    assert severity is Severity.BLOCK
    assert simulator.username in words
    assert {one for one in (EXPORT, POWER_OFF) if one in words} == set(lacks)
    assert simulator.tasks() == []


def test_an_account_with_all_privileges_causes_no_concern(simulator: Simulator, tmp_path: Path) -> None:
    assert privileges(simulator, tmp_path) == {}


def test_a_vm_that_is_off_needs_no_power_off_privilege(simulator: Simulator, tmp_path: Path) -> None:
    simulator.set_lacks(POWER_OFF)
    assert privileges(simulator, tmp_path, "off") == {}
    simulator.set_lacks(EXPORT)
    assert set(privileges(simulator, tmp_path, "off")) == {"privilege-missing"}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("lacks", [EXPORT, POWER_OFF])
def test_a_privilege_lost_since_preflight_leaves_the_vm_running(
    simulator: Simulator, tmp_path: Path, lacks: str, *, force: bool
) -> None:
    with connect(make_access(simulator, tmp_path)) as source:
        machine = source.describe("web", None)
        simulator.set_lacks(lacks)
        with pytest.raises(StepError, match=f"lacks the privilege {lacks}") as caught:
            source.power_off(machine, PowerPlan(force=force))
    assert caught.value.code is Exit.DENIED
    assert (simulator.vm("web")["power"], simulator.tasks()) == ("on", [])


def test_a_privilege_lost_since_the_shutdown_request_leaves_the_vm_running(
    start_simulator: StartSimulator, tmp_path: Path
) -> None:
    """The guest ignored the request; the hard power-off may come hours later."""
    vms = [{**one, "ignoresShutdown": True} for one in VMS]
    simulator = start_simulator({"datacenters": [{"name": "DC0", "vms": vms}]})
    access = make_access(simulator, tmp_path)
    with connect(access) as source:
        machine = source.describe("web", None)
        asked = ShutdownNote(moid=machine.source_id, at=time.time() - 60, state="asked")
        access.state_folder.mkdir(parents=True, exist_ok=True)
        asked.save(access.state_folder / f"shutdown-{machine.source_id}.json")
        simulator.set_lacks(EXPORT)
        with pytest.raises(StepError, match=f"lacks the privilege {EXPORT}"):
            source.power_off(machine, PowerPlan(grace_seconds=1))
    assert (simulator.vm("web")["power"], simulator.tasks()) == ("on", [])


@pytest.mark.parametrize("fault", ["NoPermission", "NotSupported", "InvalidArgument"])
def test_unreadable_privileges_cause_a_warning(
    start_simulator: StartSimulator, tmp_path: Path, fault: str
) -> None:
    simulator = start_simulator({"datacenters": [{"name": "DC0", "vms": VMS}]})
    simulator.faults(callFault={"method": "HasPrivilegeOnEntities", "fault": fault}, times=2)
    severity, words = privileges(simulator, tmp_path)["privileges-unknown"]
    assert severity is Severity.WARN
    assert EXPORT in words
    assert POWER_OFF in words
    with connect(make_access(simulator, tmp_path)) as source:
        machine = source.describe("web", None)
        source.power_off(machine, PowerPlan())
    assert simulator.vm("web")["power"] == "off"


def test_an_ended_session_is_not_a_missing_privilege(start_simulator: StartSimulator, tmp_path: Path) -> None:
    simulator = start_simulator({"datacenters": [{"name": "DC0", "vms": VMS}]})
    simulator.faults(callFault={"method": "HasPrivilegeOnEntities", "fault": "NotAuthenticated"})
    with pytest.raises(StepError, match="session was ended") as caught:
        privileges(simulator, tmp_path)
    assert caught.value.code is Exit.UNREACHABLE


def test_the_role_of_the_documentation_can_be_created(simulator: Simulator, tmp_path: Path) -> None:
    """The names are those of the server: it refuses a role with an unknown privilege."""
    (line,) = re.findall(r"^govc role\.create vmferry-import (.*)$", SOURCES.read_text(), re.MULTILINE)
    session = log_in(make_access(simulator, tmp_path))
    try:
        manager = session.content.authorizationManager
        (known,) = [set(one.privilege) for one in manager.roleList if one.name == "Admin"]
        assert set(line.split()) <= known
        with pytest.raises(vmodl.fault.InvalidArgument):
            manager.AddAuthorizationRole(name="misspelt", privIds=["VApp.Exports"])
        role = manager.AddAuthorizationRole(name="vmferry-import", privIds=line.split())
        (made,) = [one for one in manager.roleList if one.roleId == role]
        assert set(line.split()) <= set(made.privilege)
    finally:
        log_out(session)
