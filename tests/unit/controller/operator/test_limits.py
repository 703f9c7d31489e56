"""Limits per source: what the controller copies, and when a copy follows the default."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.operator.limits import COPIED, PER_SOURCE, update
from controller.operator.options import Limits
from steps.model.contract import StepError
from steps.model.kinds import CONFIG_MAP, Object
from tests.unit.builders import a_plan
from tests.unit.controller.operator.world import World
from workflows import argo_names

MACHINES = "vmwaresource.default.vcenter.machines"
STREAMS = "vmwaresource.default.vcenter.streams"


def begun() -> World:
    world = World()
    world.look()
    return world


def limits(world: World) -> Object:
    found = world.cluster.peek(CONFIG_MAP, argo_names.LIMITS, "vmferry")
    assert found is not None
    return found


def upgrade(world: World, machines: int, notes: dict[str, str] | None = None) -> None:
    """`helm upgrade --set limits.machines=N`: Helm writes its keys, the new controller has new options."""
    chosen = Limits(machines=machines)
    change: Any = {"data": {"default.machines": str(machines)}, "metadata": {"annotations": notes or {}}}
    world.cluster.patch(CONFIG_MAP, argo_names.LIMITS, change, "vmferry")
    world.options = world.options.model_copy(update={"limits": chosen})
    update(world.cluster, world.options)


def test_an_upgrade_changes_the_limits_of_a_known_source() -> None:
    world = begun()
    upgrade(world, 3)
    data = limits(world)["data"]
    assert (data[MACHINES], data[STREAMS]) == ("3", "4")
    upgrade(world, 1)
    assert limits(world)["data"][MACHINES] == "1"


def test_an_edited_key_stays() -> None:
    world = begun()
    world.cluster.patch(CONFIG_MAP, argo_names.LIMITS, {"data": {MACHINES: "5"}}, "vmferry")
    upgrade(world, 3)
    assert limits(world)["data"][MACHINES] == "5"
    upgrade(world, 5)
    upgrade(world, 2)
    assert limits(world)["data"][MACHINES] == "5", "it is the person's for good"


def test_a_key_from_the_values_does_not_follow_the_default() -> None:
    world = begun()
    upgrade(world, 2, {PER_SOURCE: f"{MACHINES} {STREAMS}"})
    upgrade(world, 3)
    assert limits(world)["data"][MACHINES] == "2"


def test_an_existing_key_does_not_follow_the_default() -> None:
    world = World()
    world.cluster.patch(CONFIG_MAP, argo_names.LIMITS, {"data": {MACHINES: "2"}}, "vmferry")
    world.look()
    upgrade(world, 3)
    assert limits(world)["data"][MACHINES] == "2"


@pytest.mark.parametrize("marks", ["", "{", "[]", '{"x": "2", "y.machines": 1}'])
def test_malformed_marks_are_ignored(marks: str) -> None:
    world = begun()
    change = {"metadata": {"annotations": {COPIED: marks}}}
    world.cluster.patch(CONFIG_MAP, argo_names.LIMITS, change, "vmferry")
    upgrade(world, 3)
    assert limits(world)["data"][MACHINES] == "2"
    update(world.cluster, world.options, a_plan().source)
    assert MACHINES in limits(world)["data"]


def test_a_second_call_writes_nothing() -> None:
    world = begun()
    before = world.cluster.writes()
    update(world.cluster, world.options)
    assert world.cluster.writes() == before
    assert set(json.loads(limits(world)["metadata"]["annotations"][COPIED])) == {MACHINES, STREAMS}


def test_a_missing_config_map_has_a_remedy() -> None:
    world = World()
    world.cluster.drop(CONFIG_MAP, argo_names.LIMITS, "vmferry")
    with pytest.raises(StepError, match="install or upgrade the chart"):
        update(world.cluster, world.options)
