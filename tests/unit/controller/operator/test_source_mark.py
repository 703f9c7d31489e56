"""After a success the VM is marked at its source. What is missing is tried again, and fails nothing."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, Final

import pytest

from steps.model import names
from steps.model.kinds import CONFIG_MAP, WORKFLOW
from steps.model.plan import Plan
from steps.model.source_mark import SourceMark
from tests.unit.controller.operator.hostile.test_leftovers import HOUR, backs, later
from tests.unit.controller.operator.world import World
from tests.unit.workflows.status.situations import Json, node, upto
from workflows.api.conditions import find
from workflows.api.status import Condition
from workflows.status.leftovers import SOURCE_LEFTOVERS
from workflows.status.marked import MARKED

WANTED: Final = {"tag": "state:moved", "nameSuffix": "-imported", "disconnectNics": True}
ALL: Final = SourceMark(tag="state:moved", name_suffix="-imported", disconnect_nics=True)
WHY: Final = "web01 is not marked at its source: the name: a privilege is missing"
FINALIZER: Final = "finalizers"


def exited(mark: str, message: str = "", **more: Any) -> Json:
    document = {"version": "1", "state": "nothing", "message": "", "mark": mark, "markMessage": message}
    parameters = [{"name": "left", "value": "[]"}, {"name": "restored", "value": json.dumps(document)}]
    outputs = {"exitCode": "0", "parameters": parameters}
    return node("onExit.release-source", templateName="release-source", outputs=outputs, **more)


def ended(mark: str, message: str = "") -> World:
    world = World(markSource=WANTED)
    world.look()
    world.found()
    world.argo(*upto("end"), node("start"), exited(mark, message), phase="Succeeded")
    world.look(3)
    return world


def condition(world: World) -> Condition:
    found = find(world.status.import_conditions, MARKED)
    assert found is not None
    return found


def request(world: World) -> Plan:
    stored = world.cluster.peek(CONFIG_MAP, names.request(world.run), "vmferry")
    assert stored is not None
    return Plan.model_validate_json(stored["data"]["plan.json"])


def test_the_mark_reaches_the_request() -> None:
    world = World(markSource=WANTED)
    world.look()
    assert request(world).mark == ALL


def test_a_marked_vm_is_reported_once_and_the_import_is_released() -> None:
    world = ended("marked", "web01 is marked at its source: tag moved")
    assert (condition(world).status, condition(world).reason) == ("True", "Marked")
    world.look(3)
    assert world.events().count("SourceMarked") == 1
    assert "SourceNotMarked" not in world.warnings()
    assert find(world.status.import_conditions, SOURCE_LEFTOVERS) is None
    assert not (world.raw or {})["metadata"].get(FINALIZER)


def test_an_import_without_a_mark_has_no_condition() -> None:
    world = ended("nothing")
    assert find(world.status.import_conditions, MARKED) is None


def test_a_missing_mark_is_a_warning_and_is_tried_again() -> None:
    world = ended("failed", WHY)
    assert world.status.import_status == "virtualMachineRunning"
    assert (condition(world).status, condition(world).reason) == ("False", "NotMarked")
    assert "a privilege is missing; vmferry tries it again" in condition(world).message
    assert "SourceNotMarked" in world.warnings()
    assert find(world.status.import_conditions, SOURCE_LEFTOVERS) is None
    later(world, HOUR)
    (name,) = backs(world)
    workflow = world.cluster.peek(WORKFLOW, name, "vmferry")
    assert workflow is not None
    given = {one["name"]: one["value"] for one in workflow["spec"]["arguments"]["parameters"]}
    assert (given["keep-off"], given["undo"]) == ("succeeded", "false")
    finished = world.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    world.argo(exited("marked", "web01 is marked", finishedAt=finished), phase="Failed", name=name)
    world.look(4)
    assert condition(world).reason == "Marked"
    assert not (world.raw or {})["metadata"].get(FINALIZER)
    assert world.secret(f"{world.run}-source") is None
    before = world.status
    later(world, 48 * HOUR)
    assert (world.status, len(backs(world))) == (before, 1)


def test_it_is_given_up_after_a_month() -> None:
    world = ended("failed", WHY)
    for _ in range(31 * 5):
        later(world, 5 * HOUR)
        for name in backs(world):
            finished = world.now.strftime("%Y-%m-%dT%H:%M:%SZ")
            world.argo(exited("failed", WHY, finishedAt=finished), phase="Failed", name=name)
    world.look(3)
    assert not (world.raw or {})["metadata"].get(FINALIZER)
    assert condition(world).reason == "NotMarked"


def test_a_missing_mark_does_not_delay_the_deletion_of_the_import() -> None:
    world = ended("failed", WHY)
    world.delete()
    world.look(6)
    assert world.raw is None


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({"nameSuffix": "-old"}, SourceMark(name_suffix="-old")),
        (
            {"nameSuffix": "x" * 41},
            SourceMark(tag="state:moved", name_suffix="-imported", disconnect_nics=True),
        ),
    ],
)
def test_a_change_reaches_an_import_that_runs_if_it_can_be_used(spec: Json, wanted: SourceMark) -> None:
    world = World(markSource=WANTED)
    world.look()
    world.found()
    world.argo(*upto("build"))
    world.look()
    world.apply(markSource=spec)
    world.now += timedelta(minutes=1)
    world.look(2)
    assert request(world).mark == wanted
    assert "SpecChanged" not in world.warnings()
