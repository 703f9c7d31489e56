"""Objects that the services list twice, and volumes that an account may not see."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from openstack import exceptions as sdk
from openstack.network.v2.network import Network

from steps.model.contract import StepError
from steps.model.machine import Machine, Severity, Tag
from steps.model.plan import SourcePlan
from steps.model.sources import SourceKind
from steps.providers.openstack import describe, facts
from steps.providers.openstack.cloud import Cloud
from steps.runtime.stop import Stop
from tests.unit.steps.providers.openstack.documents import NET_A, SERVER, a_port, a_server, a_volume

FOREIGN = "11111111-2222-3333-4444-555555555555"


class Services:
    """Nova, Cinder, Glance and Neutron as far as a server's facts need them; each lists everything twice."""

    def __init__(self, server: Any, *, status: int = 404) -> None:
        self.server, self.status = server, status
        self.interfaces: tuple[str, ...] | None = ("port-1", "port-0", "port-1")
        self.provider: dict[str, Any] = {}
        """What Neutron shows of a network to administrators only."""
        self.there = {one.id: one for one in (a_volume(0), a_volume(1))}

    def servers(self, **_: Any) -> list[Any]:
        return [self.server, self.server]

    def server_actions(self, _server: str) -> list[Any]:
        return []

    def server_interfaces(self, _server: Any) -> list[Any]:
        if self.interfaces is None:
            answer = SimpleNamespace(status_code=403, headers={}, request=None)
            raise sdk.HttpException("no", response=cast("Any", answer))
        return [SimpleNamespace(port_id=port) for port in self.interfaces]

    def get_volume(self, wanted: str) -> Any:
        if wanted in self.there:
            return self.there[wanted]
        answer = SimpleNamespace(status_code=self.status, headers={}, request=None)
        raise sdk.HttpException("no", response=cast("Any", answer))

    def volumes(self, **_: Any) -> list[Any]:
        return [*self.there.values(), a_volume(0, status="detaching")]

    def ports(self, **_: Any) -> list[Any]:
        return [a_port(0, device_id=SERVER), a_port(1, device_id=SERVER), a_port(0, device_id=SERVER)]

    def networks(self) -> list[Any]:
        return [Network.existing(**{"id": NET_A, "name": "front", **self.provider})] * 2

    def get(self, path: str) -> Any:
        page = {"images": [], **({} if "marker" in path else {"next": "/v2/images?marker=x"})}
        return SimpleNamespace(status_code=200, headers={}, json=lambda: page)


def cloud(*volumes: str, status: int = 404) -> Cloud:
    """A cloud whose one server has these volumes attached."""
    attached: dict[str, Any] = {"os-extended-volumes:volumes_attached": [{"id": one} for one in volumes]}
    all_four = Services(a_server(**attached), status=status)
    names = ("compute", "block_storage", "image", "network")
    plan = SourcePlan(kind=SourceKind.OPENSTACK, name="c", endpoint="https://k:5000/v3")
    connection = SimpleNamespace(**dict.fromkeys(names, all_four))
    return Cloud(plan=plan, connection=connection, tls=None, stop=Stop())


def described(there: Cloud, *, listed: bool) -> Machine:
    if listed:
        (found,) = facts.read_all(there)
    else:
        found = facts.read_one(there, there.compute.server)
    return describe.machine(found)


def test_metadata_and_tags_of_a_server_are_its_tags() -> None:
    server = a_server(metadata={"wave": "1"}, tags=["prod", "blue"])
    found = facts.tags(facts.ServerFacts(server=server, flavor=None))
    assert found == (Tag(name="blue"), Tag(name="prod"), Tag(name="wave", value="1"))
    assert facts.tags(facts.ServerFacts(server=a_server(metadata=None, tags=None), flavor=None)) == ()


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("volumes", [("vol-0", "vol-0"), ("vol-0", "vol-1", "vol-0", "vol-1")])
def test_a_volume_that_nova_lists_twice_is_one_disk(volumes: tuple[str, ...], listed: bool) -> None:
    made = described(cloud(*volumes), listed=listed)
    assert [disk.key for disk in made.disks] == sorted(set(volumes))
    assert len(made.nics) == 2


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("status", [404, 403])
def test_a_volume_that_the_account_may_not_see_ends_the_import(status: int, listed: bool) -> None:
    made = described(cloud("vol-0", FOREIGN, status=status), listed=listed)
    (concern,) = [one for one in made.concerns if one.severity is Severity.BLOCK]
    assert concern.code == "disk-unreadable"
    assert FOREIGN in concern.message
    assert "project" in concern.remedy


def test_an_outage_of_cinder_is_not_a_missing_volume() -> None:
    with pytest.raises(StepError, match=FOREIGN) as caught:
        described(cloud(FOREIGN, status=503), listed=False)
    assert not caught.value.code.permanent


def test_the_interfaces_are_read_in_novas_order_and_each_once() -> None:
    there = cloud()
    assert facts.read_one(there, there.compute.server).interfaces == ("port-1", "port-0")


def test_an_account_that_may_not_list_interfaces_can_import_the_server() -> None:
    there = cloud()
    there.compute.interfaces = None
    found = facts.read_one(there, there.compute.server)
    assert found.interfaces == ()
    assert len(describe.machine(found).nics) == 2


@pytest.mark.parametrize(
    ("provider", "vlan"),
    [
        ({}, None),
        ({"provider:network_type": "vlan", "provider:segmentation_id": 12}, 12),
        ({"provider:network_type": "vxlan", "provider:segmentation_id": 12}, None),
        ({"provider:network_type": "vlan", "provider:segmentation_id": 4095}, None),
    ],
)
def test_the_vlan_of_a_network_is_known_where_neutron_shows_it(
    provider: dict[str, Any], vlan: int | None
) -> None:
    there = cloud()
    there.network.provider = provider
    machine = described(there, listed=False)
    assert [nic.vlan for nic in machine.nics] == [vlan, vlan]
