"""A person undoes an import in a cluster, by an annotation."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from steps.model.contract import Exit
from steps.model.kinds import WORKFLOW, Object
from tests.unit.controller.operator.world import World
from tests.unit.workflows.status.situations import exited, failed, found, node, upto
from workflows import argo_names
from workflows.api.conditions import find
from workflows.status.leftovers import SOURCE_LEFTOVERS

NOTE = "migration.harvesterhci.io/undo"
MADE = ("VirtualMachine default/web01", "PersistentVolumeClaim default/web01-disk-0")


def begun(**spec: object) -> World:
    world = World(**spec)
    world.look()
    world.found()
    return world


def succeeded(**spec: object) -> World:
    world = begun(**spec)
    world.argo(*upto("end"), node("start"), phase="Succeeded")
    world.look(3)
    assert world.status.import_status == "virtualMachineRunning"
    return world


def halt(phase: str = "Succeeded") -> Object:
    parameters = [{"name": "remaining", "value": json.dumps(MADE)}]
    return node("onExit.halt", phase, templateName="halt", outputs={"parameters": parameters})


def cleanup(
    state: str = "started", message: str = "web01 was started again at its source", left: str = "[]"
) -> Object:
    text = json.dumps({"version": "1", "state": state, "message": message})
    parameters = [{"name": "restored", "value": text}, {"name": "left", "value": left}]
    return node("onExit.release-source", templateName="release-source", outputs={"parameters": parameters})


def undoing(world: World) -> str:
    """Ask for it; returns the name of the Workflow that does it."""
    run = world.run
    world.annotate(undo="true")
    world.look()
    (name,) = (name for name in world.workflows() if argo_names.is_undo(name, run))
    return name


STOPPED = failed("preflight", None, "workflow shutdown with strategy:  Stop")
"""Argo shows the first step of a Workflow that is stopped before it starts as failed."""


def undone(world: World, *nodes: Object) -> None:
    name = undoing(world)
    world.argo(STOPPED, *(nodes or (halt(), cleanup())), phase="Failed", name=name)
    world.look(3)


def test_a_workflow_with_only_the_exit_handler_does_it() -> None:
    world = succeeded()
    name = undoing(world)
    workflow = world.cluster.peek(WORKFLOW, name, "vmferry")
    assert workflow is not None
    assert workflow["spec"]["shutdown"] == "Stop"
    parameters = {one["name"]: one["value"] for one in workflow["spec"]["arguments"]["parameters"]}
    assert parameters["undo"] == "true"
    assert world.summary.reason == "Undoing"
    assert world.secret(f"{world.run}-source") is not None
    assert NOTE in world.notes()
    world.look(3)
    assert world.workflows().count(name) == 1


def test_an_undone_import_says_what_remains_and_how_to_delete_it() -> None:
    world = succeeded()
    undone(world)
    assert (world.status.import_status, world.summary.reason) == ("VMMigrationFailed", "Undone")
    for text in (*MADE, "started again at its source", "kubectl delete -n default vm,pvc -l "):
        assert text in world.status.message
    # Harvester refuses to delete an image while a claim is made from it.
    assert " && kubectl delete -n default virtualmachineimages.harvesterhci.io -l " in world.status.message
    assert NOTE not in world.notes()
    assert world.workflows() == []
    assert world.secret(f"{world.run}-source") is None


def test_the_command_that_deletes_what_remains_names_the_kinds_of_the_target() -> None:
    world = succeeded(target="kubevirt")
    undone(world)
    assert "kubectl delete -n default vm,datavolumes.cdi.kubevirt.io,pvc -l" in world.status.message


@pytest.mark.parametrize(
    ("left", "status"), [("[]", "False"), ('["snapshot a"]', "Unknown"), ("null", "Unknown")]
)
def test_an_undo_reports_whether_the_source_is_clean(left: str, status: str) -> None:
    world = succeeded()
    undone(world, halt(), cleanup(left=left))
    made = find(world.status.import_conditions, SOURCE_LEFTOVERS)
    assert made is not None
    assert made.status == status


def test_an_undo_ends_a_repeated_cleanup() -> None:
    world = begun()
    world.argo(*upto("build"), failed("build", Exit.CONFLICT, "taken"), exited("null"), phase="Failed")
    world.look(2)
    world.now += timedelta(hours=1)
    world.look()
    (back,) = (name for name in world.workflows() if argo_names.is_give_back(name, world.run))
    name = undoing(world)
    assert back not in world.workflows()
    assert name != argo_names.undo(world.run), "Argo would take a pod of an earlier Workflow for its own"


def test_an_undone_import_stays_undone() -> None:
    world = succeeded()
    undone(world)
    before = world.status
    world.look(5)
    assert world.status == before


def test_the_workflow_of_an_undone_import_cannot_bring_it_back() -> None:
    """It is deleted, but may still be seen: `virtualMachineRunning` would be final."""
    world = succeeded()
    kept = world.workflow()
    undone(world)
    world.cluster.put(kept)
    world.look(3)
    assert world.summary.reason == "Undone"


def test_a_retry_of_an_undone_import_copies_the_vm_again() -> None:
    world = succeeded()
    undone(world)
    world.annotate(retry="true")
    world.look()
    assert world.run.endswith("-g2")
    assert world.workflows() == [world.run]


def test_a_failed_import_can_be_undone() -> None:
    world = begun()
    world.argo(*upto("build"), failed("build", Exit.CONFLICT, "taken"), phase="Failed")
    world.look()
    undone(world)
    assert world.summary.reason == "Undone"


@pytest.mark.parametrize(
    "nodes",
    [
        (
            failed("onExit.halt", Exit.BUSY, "web01 does not stop"),
            cleanup("failed", "web01 stays off"),
        ),
        (halt(), cleanup("failed", "web01 is not started again: no host has room")),
        (halt(), failed("onExit.release-source", None, "pod deleted")),
        (),
    ],
    ids=["halt", "restore", "release-source", "nothing ran"],
)
def test_a_failed_undo_can_be_repeated(nodes: tuple[Object, ...]) -> None:
    world = succeeded()
    name = undoing(world)
    world.argo(*nodes, phase="Failed", name=name)
    world.look(2)
    assert world.summary.reason == "UndoFailed"
    assert NOTE in world.status.message
    assert name not in world.workflows()
    undone(world)
    assert world.summary.reason == "Undone"


def test_a_running_import_is_not_undone() -> None:
    world = begun()
    world.argo(found(), node("poweroff", "Running"))
    world.look()
    world.annotate(undo="true")
    world.look()
    assert "UndoIgnored" in world.warnings()
    assert NOTE not in world.notes()
    assert len(world.workflows()) == 1


def test_an_undo_waits_for_the_exit_handler_of_a_success() -> None:
    world = begun()
    world.argo(*upto("end"), node("start"), phase="Running")
    world.look(3)
    assert world.status.import_status == "virtualMachineRunning"
    world.annotate(undo="true")
    world.look(3)
    assert NOTE in world.notes()
    assert not [name for name in world.workflows() if argo_names.is_undo(name, world.run)]
    world.argo(*upto("end"), node("start"), phase="Succeeded")
    world.look(3)
    assert [name for name in world.workflows() if argo_names.is_undo(name, world.run)]


def test_an_import_that_changed_nothing_is_not_undone() -> None:
    world = World()
    world.set_source("clusterNotReady")
    world.look()
    world.annotate(undo="true")
    world.look()
    assert "NothingToUndo" in world.warnings()
    assert world.workflows() == []


def test_a_deletion_waits_for_the_undo() -> None:
    world = succeeded()
    name = undoing(world)
    world.delete()
    world.look(2)
    assert name in world.workflows()
    world.argo(halt(), cleanup(), phase="Failed", name=name)
    world.look(3)
    assert world.raw is None


def test_an_annotation_that_was_removed_meanwhile_is_carried_out() -> None:
    world = succeeded()
    name = undoing(world)
    raw = world.raw
    assert raw is not None
    del raw["metadata"]["annotations"][NOTE]
    world.argo(halt(), cleanup(), phase="Failed", name=name)
    world.look(2)
    assert world.summary.reason == "Undone"
