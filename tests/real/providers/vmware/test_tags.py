"""Tags from the simulated Automation API of govmomi."""

from __future__ import annotations

from pathlib import Path

import pytest

from steps.model.machine import Tag
from steps.providers import connect
from tests.real.providers.vmware.conftest import MakeAccess
from tests.real.simulator import Simulator, StartSimulator, make_access

pytestmark = pytest.mark.vcenter

TAGGED = {"env:prod", "wave:first wave"}


def sessions(simulator: Simulator) -> int:
    """Sessions of the Automation API that were opened and not ended."""
    calls = [call for call in simulator.calls() if call["kind"] == "rest"]
    methods = [str(call["method"]) for call in calls]
    return methods.count("POST /rest/com/vmware/cis/session") - methods.count(
        "DELETE /rest/com/vmware/cis/session"
    )


def test_the_inventory_has_the_tags_of_its_vms(start_simulator: StartSimulator, tmp_path: Path) -> None:
    vms = [{"name": "web", "tags": sorted(TAGGED)}, {"name": "db", "tags": ["env:prod"]}, {"name": "plain"}]
    simulator = start_simulator({"datacenters": [{"vms": vms}]})
    with connect(make_access(simulator, tmp_path, datacenter="DC0")) as source:
        found = source.inventory()
    assert {machine.name: set(map(str, machine.tags)) for machine in found.machines} == {
        "web": TAGGED,
        "db": {"env:prod"},
        "plain": set(),
    }
    assert Tag(name="wave", value="first wave") in found.machines[-1].tags
    assert found.tags_unknown == ""
    assert sessions(simulator) == 0
    assert simulator.sessions() == []


def test_the_number_of_requests_does_not_grow_with_the_vms(
    start_simulator: StartSimulator, tmp_path: Path
) -> None:
    vms = [{"name": f"vm-{number}", "tags": ["env:prod"]} for number in range(30)]
    simulator = start_simulator({"datacenters": [{"vms": vms}]})
    with connect(make_access(simulator, tmp_path, datacenter="DC0")) as source:
        source.inventory()
    assert len([call for call in simulator.calls() if call["kind"] == "rest"]) == 5


def test_an_inventory_without_the_automation_api_has_no_tags_and_says_why(
    start_simulator: StartSimulator, tmp_path: Path
) -> None:
    simulator = start_simulator({"automationApi": False, "datacenters": [{"vms": [{"name": "a"}]}]})
    with connect(make_access(simulator, tmp_path, datacenter="DC0")) as source:
        found = source.inventory()
    assert [machine.name for machine in found.machines] == ["a"]
    assert "404" in found.tags_unknown


def test_the_bytes_in_use_are_known(access: MakeAccess) -> None:
    with connect(access()) as source:
        found = source.inventory()
    assert all(machine.storage_used is not None for machine in found.machines)
