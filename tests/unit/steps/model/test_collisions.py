"""Names and MAC addresses that two VMs of one plan would share."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model.collisions import Reservations, collisions
from steps.model.contract import Exit, StepError
from steps.model.mapping import Shape, shape
from steps.model.plan import MacPolicy, NetworkRule
from tests.unit.builders import a_machine, a_nic, a_plan

VLAN = NetworkRule(source="VM Network", destination="default/vlan1")


def a_shape(name: str = "web", mac: str | None = None, **target: Any) -> Shape:
    nics = (a_nic(mac=mac),) if mac else ()
    return shape(a_plan(**target), a_machine(name=name, nics=nics))


def texts(*vms: tuple[str, Shape]) -> list[list[str]]:
    return [[str(error) for error in found] for found in collisions(vms)]


def test_names_that_become_equal_collide() -> None:
    first, second, third = texts(("a", a_shape("Web 01")), ("b", a_shape("web-01")), ("c", a_shape("web-02")))
    assert first == [
        "a and b would both become VirtualMachine default/web-01; "
        "set spec.targetVirtualMachineName in one of them"
    ]
    assert "b and a" in second[0]
    assert third == []


def test_equal_names_in_two_namespaces_do_not_collide() -> None:
    assert texts(("a", a_shape()), ("b", a_shape(namespace="shop"))) == [[], []]


def test_a_mac_address_twice_in_one_network_collides() -> None:
    mac = "00:50:56:00:00:01"
    vms = [(name, a_shape(name, mac, networks=(VLAN,))) for name in ("a", "b")]
    first, second = texts(*vms)
    assert "nic-0 with 00:50:56:00:00:01 on default/vlan1" in first[0]
    assert "mac: new" in second[0]


@pytest.mark.parametrize(
    "networks",
    [
        (),
        (VLAN.model_copy(update={"destination": "default/vlan2"}),),
        (VLAN.model_copy(update={"mac": MacPolicy.NEW}),),
    ],
    ids=["pod network", "another network", "a new address"],
)
def test_a_mac_address_that_does_not_meet_the_other_one_is_no_collision(
    networks: tuple[NetworkRule, ...],
) -> None:
    mac = "00:50:56:00:00:01"
    found = texts(("a", a_shape("a", mac, networks=(VLAN,))), ("b", a_shape("b", mac, networks=networks)))
    assert found == [[], []]


def test_a_refused_import_reserves_nothing() -> None:
    reservations = Reservations()
    reservations.reserve("a", a_shape("web"))
    reservations.reserve("a", a_shape("web"))
    mac = "00:50:56:00:00:01"
    with pytest.raises(StepError) as caught:
        reservations.reserve("b", a_shape("web", mac, networks=(VLAN,)))
    assert caught.value.code is Exit.CONFLICT
    reservations.reserve("c", a_shape("db", mac, networks=(VLAN,)))
