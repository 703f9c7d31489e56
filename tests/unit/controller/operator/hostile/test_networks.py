"""Destination networks of other namespaces: a message must not show whether they exist."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model.kinds import EVENT, NAD
from tests.unit.controller.operator.world import KEY, World


def a_network(name: str, namespace: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": NAD.api_version, "kind": NAD.kind, "metadata": metadata}


def mapped(destination: str, *networks: tuple[str, str], shared: tuple[str, ...] | None = None) -> World:
    """An import whose NIC goes to that network, in a cluster with these networks."""
    world = World(networkMapping=[{"sourceNetwork": "VM Network", "destinationNetwork": destination}])
    if shared is not None:
        world.options = world.options.model_copy(update={"shared_network_namespaces": shared})
    for namespace, name in networks:
        world.cluster.put(a_network(name, namespace))
    world.look()
    return world


def told(world: World) -> tuple[Any, ...]:
    """Everything that the tenant can read, without names and times of Events."""
    events = [(one["reason"], one["message"]) for one in world.cluster.all(EVENT, KEY[0])]
    return world.status.import_status, world.status.message, events, len(world.workflows())


def test_the_answer_is_the_same_whether_a_network_of_others_exists() -> None:
    there = mapped("secret-team/vlan7", ("secret-team", "vlan7"))
    absent = mapped("secret-team/vlan7")
    assert told(there) == told(absent)
    asked = [call for call in there.cluster.calls if call.kind == NAD]
    assert asked == []
    assert "NetworksNotChecked" in there.warnings()


@pytest.mark.parametrize("namespace", ["default", "harvester-public"])
def test_a_missing_network_of_a_shared_namespace_is_reported(namespace: str) -> None:
    world = mapped(f"{namespace}/vlan9")
    assert world.workflows() == []
    assert f"destination network {namespace}/vlan9 does not exist" in world.summary.message
    world = mapped(f"{namespace}/vlan9", (namespace, "vlan9"))
    assert len(world.workflows()) == 1
    assert "NetworksNotChecked" not in world.events()


def test_a_missing_network_of_the_own_namespace_is_reported() -> None:
    world = mapped("vlan9", shared=())
    assert "destination network default/vlan9 does not exist" in world.summary.message


def test_an_installation_may_check_all() -> None:
    world = mapped("secret-team/vlan7", shared=("*",))
    assert "destination network secret-team/vlan7 does not exist" in world.summary.message
