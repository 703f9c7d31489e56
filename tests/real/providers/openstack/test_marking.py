"""A server of the real Nova and Neutron is marked, and the mark is removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.source_mark import LONGEST_TAG
from steps.providers import connect
from tests.real.openstack import machines
from tests.real.openstack.cloud import Project
from tests.real.openstack.machines import Nic
from tests.real.providers.openstack.conftest import MakeAccess, a_disk


@pytest.fixture
def machine(project: Project, access: MakeAccess, tmp_path: Path) -> Machine:
    """A server that is off, with two ports, and a tag of its own."""
    network = machines.network(project, "front")
    nics = [Nic(network=network), Nic(network=network)]
    server = machines.server(project, "web", [a_disk(tmp_path, 1)], nics=nics)
    machines.stop(project, server.id)
    compute = project.connection.compute
    compute.get_server(server.id).add_tag(compute, "live")
    with connect(access("preflight")) as source:
        return source.describe("web", None)


def marked(access: MakeAccess, machine: Machine, *calls: Any) -> None:
    """Each call in a session of its own, twice: a killed attempt is repeated."""
    for call in calls:
        for _ in range(2):
            with connect(access("release-source")) as source:
                call(source.marker(machine))


def server_of(project: Project, machine: Machine) -> Any:
    return project.connection.compute.get_server(machine.source_id)


@pytest.mark.parametrize("tag", ["moved", "to check? #1", "für später: 5 & 6", "x" * LONGEST_TAG])
def test_the_server_gets_any_tag_and_keeps_its_own(
    project: Project, access: MakeAccess, machine: Machine, tag: str
) -> None:
    marked(access, machine, lambda marker: marker.set_tag(tag, present=True))
    assert sorted(server_of(project, machine).tags) == sorted(["live", tag])
    with connect(access("preflight")) as source:
        assert [source.marker(machine).has_tag(one) for one in ("live", tag, "other")] == [True, True, False]
    marked(access, machine, lambda marker: marker.set_tag(tag, present=False))
    assert server_of(project, machine).tags == ["live"]


def test_the_server_is_renamed_and_gets_its_name_back(
    project: Project, access: MakeAccess, machine: Machine
) -> None:
    marked(access, machine, lambda marker: marker.rename("web", "web-imported"))
    renamed = server_of(project, machine)
    assert (renamed.name, renamed.status, renamed.hostname) == ("web-imported", "SHUTOFF", "web")
    with connect(access("look")) as source:
        assert source.describe("web-imported", None).source_id == machine.source_id
        with pytest.raises(StepError) as caught:
            source.marker(machine).rename("other", "other-imported")
    assert caught.value.code is Exit.INVALID
    marked(access, machine, lambda marker: marker.rename("web-imported", "web"))
    assert server_of(project, machine).name == "web"


def test_its_ports_are_taken_down_and_up_again_and_none_is_lost(
    project: Project, access: MakeAccess, machine: Machine
) -> None:
    def ports() -> dict[str, bool]:
        found = project.connection.network.ports(device_id=machine.source_id)
        return {port.mac_address: port.is_admin_state_up for port in found}

    before = ports()
    assert sorted(before) == sorted(str(nic.mac) for nic in machine.nics)
    assert set(before.values()) == {True}
    marked(access, machine, lambda marker: marker.connect_nics(connected=False))
    assert ports() == dict.fromkeys(before, False)
    with connect(access("look")) as source:
        assert [nic.connected for nic in source.describe("web", None).nics] == [False, False]
    marked(access, machine, lambda marker: marker.connect_nics(connected=True))
    assert ports() == before


def test_a_server_that_was_marked_starts_again_after_the_mark_is_removed(
    project: Project, access: MakeAccess, machine: Machine
) -> None:
    marked(
        access,
        machine,
        lambda marker: marker.connect_nics(connected=False),
        lambda marker: marker.connect_nics(connected=True),
    )
    with connect(access("release-source")) as source:
        source.power_on(machine)
    assert server_of(project, machine).status == "ACTIVE"
