"""A VM of the simulated vCenter is marked, and the mark is removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.source_mark import SourceMark
from steps.providers import Access, Marker, connect
from steps.providers.vmware import tasks
from tests.real.simulator import Simulator, StartSimulator, make_access

pytestmark = pytest.mark.vcenter

WEB: dict[str, Any] = {
    "name": "web",
    "power": "off",
    "tags": ["state:live"],
    "nics": [{"network": "VM Network"}, {"network": "VM Network", "type": "e1000"}],
}
OTHER: dict[str, Any] = {"name": "db", "tags": ["state:moved", "wave:moved", "wave:one"]}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "POLL_SECONDS", 0.05)


@pytest.fixture
def vcenter(start_simulator: StartSimulator) -> Simulator:
    return start_simulator({"datacenters": [{"networks": [{"name": "VM Network"}], "vms": [WEB, OTHER]}]})


@pytest.fixture
def access(vcenter: Simulator, tmp_path: Path) -> Access:
    return make_access(vcenter, tmp_path, datacenter="DC0")


def described(access: Access, name: str = "web") -> Machine:
    with connect(access) as source:
        return source.describe(name, None)


def with_marker(access: Access, machine: Machine, *calls: Any) -> None:
    """Each call in a session of its own, twice: a killed attempt is repeated."""
    for call in calls:
        for _ in range(2):
            with connect(access) as source:
                call(source.marker(machine))


def tasks_of(vcenter: Simulator) -> list[str]:
    return [task["descriptionId"] for task in vcenter.tasks()]


def test_a_vm_is_renamed_once_and_gets_its_name_back(vcenter: Simulator, access: Access) -> None:
    machine = described(access)
    with_marker(access, machine, lambda marker: marker.rename("web", "web-imported"))
    assert described(access, "web-imported").source_id == machine.source_id
    assert len(tasks_of(vcenter)) == 1
    with_marker(access, machine, lambda marker: marker.rename("web-imported", "web"))
    assert described(access).source_id == machine.source_id


def test_a_name_that_somebody_chose_meanwhile_is_kept(access: Access) -> None:
    machine = described(access)
    with connect(access) as source, pytest.raises(StepError, match="its name is now web") as caught:
        source.marker(machine).rename("another", "another-imported")
    assert caught.value.code is Exit.INVALID
    assert described(access).name == "web"


def test_a_name_that_exists_is_refused(access: Access) -> None:
    machine = described(access)
    with connect(access) as source, pytest.raises(StepError, match="cannot rename the VM to db"):
        source.marker(machine).rename("web", "db")


def test_its_nics_are_disconnected_and_connected_again(vcenter: Simulator, access: Access) -> None:
    machine = described(access)
    assert [nic.connected for nic in machine.nics] == [True, True]
    with_marker(access, machine, lambda marker: marker.connect_nics(connected=False))
    now = described(access)
    assert [nic.connected for nic in now.nics] == [False, False]
    assert [(nic.mac, nic.network, nic.model) for nic in now.nics] == [
        (nic.mac, nic.network, nic.model) for nic in machine.nics
    ]
    assert len(tasks_of(vcenter)) == 1
    with_marker(access, machine, lambda marker: marker.connect_nics(connected=True))
    assert [nic.connected for nic in described(access).nics] == [True, True]


def test_a_name_with_characters_that_vsphere_escapes_is_marked_too(
    vcenter: Simulator, access: Access
) -> None:
    machine = described(access)
    with_marker(access, machine, lambda marker: marker.rename("web", "shop/web 100%"))
    assert described(access, "shop/web 100%").source_id == machine.source_id
    with_marker(access, machine, lambda marker: marker.rename("shop/web 100%", "shop/web 100%-imported"))
    assert described(access, "shop/web 100%-imported").source_id == machine.source_id
    assert len(tasks_of(vcenter)) == 2


@pytest.mark.parametrize("tag", ["state:moved", "one"])
def test_it_gets_an_existing_tag(access: Access, tag: str) -> None:
    machine = described(access)

    def tags() -> set[str]:
        with connect(access) as source:
            return {str(found) for found in source.tags(machine)}

    with connect(access) as source:
        marker = source.marker(machine)
        assert [marker.has_tag(one) for one in ("state:live", "live", tag)] == [True, True, False]
    with_marker(access, machine, lambda marker: marker.set_tag(tag, present=True))
    assert tags() == {"state:live", tag if ":" in tag else f"wave:{tag}"}
    with_marker(access, machine, lambda marker: marker.set_tag(tag, present=False))
    assert tags() == {"state:live"}


@pytest.mark.parametrize(("tag", "code"), [("moved", Exit.AMBIGUOUS), ("gone", Exit.NOT_FOUND)])
def test_a_tag_that_is_not_clear_is_found_out_before_anything_changes(
    vcenter: Simulator, access: Access, tag: str, code: Exit
) -> None:
    machine = described(access)
    with connect(access) as source:
        marker: Marker = source.marker(machine)
        assert len(marker.lacks(SourceMark(tag=tag))) == 1
        assert marker.lacks(SourceMark(tag="one", name_suffix="-x", disconnect_nics=True)) == []
        with pytest.raises(StepError) as caught:
            marker.set_tag(tag, present=True)
    assert caught.value.code is code
    assert tasks_of(vcenter) == []
    assert vcenter.sessions() == []


def test_missing_privileges_are_found_out_before_the_import(vcenter: Simulator, access: Access) -> None:
    machine = described(access)
    vcenter.set_lacks("VirtualMachine.Config.Rename", "VirtualMachine.Config.EditDevice")
    with connect(access) as source:
        marker = source.marker(machine)
        (why,) = marker.lacks(SourceMark(name_suffix="-imported", disconnect_nics=True))
        assert "VirtualMachine.Config.Rename" in why
        assert "VirtualMachine.Config.EditDevice" in why
        assert marker.lacks(SourceMark(tag="one")) == []
