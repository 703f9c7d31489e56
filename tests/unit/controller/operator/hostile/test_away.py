"""A deletion while the controller is away still stops the import and releases the source (finding F9)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from steps.model.kinds import CONFIG_MAP
from tests.unit.controller.operator.world import World
from tests.unit.workflows.status.situations import RELEASE, exited, node


def running() -> World:
    world = World()
    world.look()
    world.argo(node("preflight"), node("poweroff", "Running"))
    world.look()
    return world


@pytest.mark.parametrize("away", [timedelta(minutes=11), timedelta(days=3), timedelta(minutes=-30)])
def test_the_first_look_after_a_long_time_stops_the_workflow(away: timedelta) -> None:
    """Also with a clock that is ahead of the API server's, or behind it."""
    world = running()
    world.delete()
    world.now += away
    world.look()
    assert world.raw is not None, "the finalizer stays"
    assert world.workflow()["spec"]["shutdown"] == "Stop"
    assert world.cluster.all(CONFIG_MAP, "vmferry") != []
    assert "GaveUp" not in world.events()
    world.argo(node("preflight"), exited(), phase="Failed")
    world.look(2)
    assert world.raw is None


def test_it_gives_up_after_the_timeout_of_its_own_request() -> None:
    world = running()
    world.delete()
    world.now += timedelta(days=1)
    world.look()
    world.now += timedelta(seconds=590)
    world.look()
    assert world.raw is not None
    world.now += timedelta(seconds=10)
    world.look()
    assert world.raw is None
    assert "GaveUp" in world.events()


def test_a_restart_does_not_start_the_time_again() -> None:
    world = running()
    world.delete()
    world.look()
    since = world.status.stopping_since
    world.look(3)
    assert world.status.stopping_since == since != ""


def test_a_succeeded_import_whose_exit_handler_runs_waits_for_it() -> None:
    world = running()
    world.argo(node("preflight"), node("start"), node(RELEASE, "Running"))
    found = world.raw
    assert found is not None
    found["status"]["importStatus"] = "virtualMachineRunning"
    world.delete()
    world.now += timedelta(hours=1)
    world.look()
    assert world.raw is not None
    assert world.status.import_status == "virtualMachineRunning"
