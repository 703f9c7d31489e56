"""`powerState: asSource`: the VM's state when the import began counts, also after a retry of the import."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model import names
from steps.model.kinds import CONFIG_MAP
from steps.model.machine import Power
from steps.model.plan import Plan
from steps.runtime.program import MACHINE, PLAN
from tests.unit.builders import a_machine
from tests.unit.controller.operator.world import World
from tests.unit.workflows.status.situations import failed, found, node

AS_SOURCE = {"powerState": "asSource"}


def plan_of(world: World) -> Plan:
    request = world.cluster.peek(CONFIG_MAP, names.request(world.run), "vmferry")
    assert request is not None
    return Plan.model_validate_json(request["data"][PLAN])


def failing(power: Power, **spec: Any) -> World:
    """An import that has shut the VM down, if it ran, and failed later."""
    world = World(**spec)
    world.look(3)
    assert not plan_of(world).target.settings.ran_before
    world.found()
    machine = world.cluster.peek(CONFIG_MAP, names.machine(world.run), "vmferry")
    assert machine is not None
    machine["data"][MACHINE] = a_machine(power=power).to_json()
    world.argo(found(), node("poweroff"), failed("export", 13, "scratch is full", "disk-0"), phase="Failed")
    world.look(2)
    assert world.status.import_status == "VMMigrationFailed"
    return world


@pytest.mark.parametrize(("power", "ran"), [(Power.ON, True), (Power.OFF, False)])
def test_a_retry_remembers_that_the_import_has_shut_the_vm_down(power: Power, ran: bool) -> None:
    world = failing(power, virtualMachine=AS_SOURCE)
    world.annotate(retry="true")
    world.look(2)
    assert plan_of(world).target.settings.ran_before is ran


def test_so_does_each_later_retry() -> None:
    world = failing(Power.ON, virtualMachine=AS_SOURCE)
    for _ in range(2):
        world.annotate(retry="true")
        world.look(2)
        machine = world.cluster.peek(CONFIG_MAP, names.machine(world.run), "vmferry")
        assert machine is not None
        machine["data"][MACHINE] = a_machine(power=Power.OFF).to_json()
        world.argo(found(), node("poweroff"), failed("export", 13, "full", "disk-0"), phase="Failed")
        world.look(2)
    assert plan_of(world).target.settings.ran_before


def test_another_vm_begins_with_its_own_state() -> None:
    world = failing(Power.ON, virtualMachine=AS_SOURCE)
    world.apply(virtualMachineName="web02")
    world.look(3)
    assert plan_of(world).vm == "web02"
    assert not plan_of(world).target.settings.ran_before


def test_without_the_wish_nothing_is_remembered() -> None:
    world = failing(Power.ON)
    world.annotate(retry="true")
    world.look(2)
    request = world.cluster.peek(CONFIG_MAP, names.request(world.run), "vmferry")
    assert request is not None
    assert "ranBefore" not in request["data"][PLAN]
