"""A suspended import and the places of others: Argo keeps its locks and its place in the queue (F25)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import pytest

from controller.operator.decide.control import QUEUE_SECONDS, SUSPENDED, SUSPENDED_SECONDS
from steps.model.kinds import WORKFLOW
from tests.unit.controller.operator.world import World
from tests.unit.workflows.status.situations import failed, found, node
from workflows.status.phase import PARKED

HOUR: Final = timedelta(hours=1)
LOCK: Final = "vmferry/ConfigMap/vmferry-limits/vmware.vcenter.0a1b2c3d.machines"
HOLDING: Final[Any] = {"semaphore": {"holding": [{"semaphore": LOCK, "holders": ["vmferry/x/x-1"]}]}}
RELEASED: Final[Any] = {"semaphore": {"holding": [{"semaphore": LOCK, "holders": []}]}}
"""As Argo leaves it when the transfer is done."""
IN_QUEUE: Final = node(
    "transfer",
    "Pending",
    kind="DAG",
    synchronizationStatus={"waiting": LOCK},
    message=f"Waiting for {LOCK} lock. Lock status: 0/2",
)
STOPPED: Final = failed("poweroff", None, "workflow shutdown with strategy:  Stop")


def suspended(locks: Any, running: Any = None) -> World:
    """An import that was just suspended."""
    world = World()
    world.look()
    world.argo(found(), running or node("poweroff", "Running"), synchronization=locks)
    world.apply(suspend=True)
    world.look()
    assert world.workflow()["spec"]["suspend"] is True
    return world


def is_stopped(world: World) -> bool:
    return "shutdown" in world.workflow()["spec"]


def test_a_suspended_import_gives_its_place_back_after_a_time() -> None:
    world = suspended(HOLDING)
    world.now += HOUR - timedelta(seconds=60)
    world.look()
    assert not is_stopped(world)
    world.now += timedelta(seconds=120)
    world.look()
    assert is_stopped(world)
    assert "suspend" not in world.workflow()["spec"], "Argo runs no exit handler of a suspended Workflow"
    assert PARKED in world.warnings()
    world.look()
    assert "suspend" not in world.workflow()["spec"], "it is not suspended again while it stops"


def test_it_resumes_by_itself_when_it_is_no_longer_suspended() -> None:
    world = suspended(HOLDING)
    world.now += 2 * HOUR
    world.look()
    world.argo(found(), STOPPED, phase="Failed")
    world.look(3)
    assert (world.status.import_status, world.summary.reason) == ("VMMigrationFailed", PARKED)
    assert "resumes from completed work" in world.summary.message
    assert len(world.workflows()) == 1
    world.apply(suspend=False)
    world.look(2)
    assert world.workflows()[0].endswith("-r1")


def test_it_also_resumes_after_its_workflow_has_expired() -> None:
    world = suspended(HOLDING)
    world.now += 2 * HOUR
    world.look()
    world.argo(found(), STOPPED, phase="Failed")
    world.look()
    world.cluster.drop(WORKFLOW, world.workflows()[0], "vmferry")
    world.look(2)
    assert world.summary.reason == PARKED
    world.apply(suspend=False)
    world.look()
    assert world.workflows()[0].endswith("-r1")


@pytest.mark.parametrize("locks", [None, RELEASED, "x", {"semaphore": {"holding": [None, {"holders": 0}]}}])
def test_an_import_without_a_place_may_stay_suspended(locks: Any) -> None:
    world = suspended(locks)
    world.now += 1000 * HOUR
    world.look()
    assert not is_stopped(world)


def test_an_import_in_the_queue_makes_room_soon() -> None:
    """Only the first in the queue gets the lock: a suspended one stops all behind it."""
    world = suspended(None, IN_QUEUE)
    world.look()
    assert not is_stopped(world)
    world.now += timedelta(seconds=QUEUE_SECONDS)
    world.look()
    assert is_stopped(world)


def test_a_short_resume_starts_no_new_time() -> None:
    world = suspended(HOLDING)
    for _ in range(4):
        world.now += timedelta(minutes=20)
        world.apply(suspend=False)
        world.look()
        if is_stopped(world):
            break
        world.apply(suspend=True)
        world.look()
    notes = world.workflow()["metadata"]["annotations"]
    assert int(notes[SUSPENDED_SECONDS]) >= 3600
    world.look()
    assert is_stopped(world)


@pytest.mark.parametrize("value", ["true", "", "yesterday", "2026-11-21T11:00:00"])
def test_a_suspension_without_a_time_counts_from_now(value: str) -> None:
    """An earlier version wrote `true`."""
    world = suspended(HOLDING)
    world.workflow()["metadata"]["annotations"][SUSPENDED] = value
    world.look()
    assert not is_stopped(world)
    world.now += HOUR + timedelta(seconds=60)
    world.look()
    assert is_stopped(world)


def test_a_suspension_in_argo_is_a_persons_own() -> None:
    world = World()
    world.look()
    world.argo(found(), node("poweroff", "Running"), synchronization=HOLDING)
    world.workflow()["spec"]["suspend"] = True
    world.now += 1000 * HOUR
    world.look()
    assert not is_stopped(world)


@pytest.mark.parametrize("how", ["cancel", "delete"])
def test_a_suspended_import_can_be_stopped(how: str) -> None:
    world = suspended(HOLDING)
    if how == "cancel":
        world.apply(cancel=True)
    else:
        world.delete()
    world.look(2)
    assert is_stopped(world)
    assert "suspend" not in world.workflow()["spec"]


def test_a_workflow_that_was_stopped_while_suspended_is_resumed() -> None:
    """As an earlier version left it: its exit handler could not run."""
    world = suspended(HOLDING)
    world.workflow()["spec"]["shutdown"] = "Stop"
    world.look()
    assert "suspend" not in world.workflow()["spec"]
