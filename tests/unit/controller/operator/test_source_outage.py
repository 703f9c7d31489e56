"""While a step waits for its source, the status of the import shows it, from the status of the source."""

from __future__ import annotations

from datetime import timedelta

import pytest

from steps.model import names
from steps.model.kinds import CONFIG_MAP
from tests.unit.controller.operator.world import World
from tests.unit.workflows.status.situations import Json, failed, found, node


def exporting(progress: str = "4/10") -> Json:
    return node("export", "Running", "disk-0", progress=progress)


def running(*nodes: Json) -> World:
    world = World()
    world.look()
    world.argo(*nodes)
    world.look()
    return world


def away(world: World, reason: str = "Unreachable") -> None:
    world.now += timedelta(minutes=3)
    world.set_source("clusterNotReady", "vc refuses the connection", reason)
    world.look()


@pytest.mark.parametrize(
    ("nodes", "stage"),
    [
        ((node("preflight", "Running"),), "preflight"),
        ((found(), node("poweroff", "Running")), "poweroff"),
        ((found(("disk-0",)), node("poweroff"), exporting()), "export"),
    ],
)
def test_a_step_that_waits_for_its_source(nodes: tuple[Json, ...], stage: str) -> None:
    world = running(*nodes)
    phase = world.status.import_status
    away(world)
    assert world.status.message == world.summary.message
    assert world.status.message.startswith(f"{stage} waits for the source since 12:03 UTC. ")
    assert "vc refuses the connection" in world.status.message
    assert (world.summary.status, world.summary.reason) == ("Unknown", "SourceNotReady")
    assert (world.status.import_status, world.status.step) == (phase, stage)
    before = world.cluster.writes()
    world.look(3)
    assert world.cluster.writes() == before
    world.set_source("clusterReady")
    world.look()
    assert (world.summary.reason, "waits" in world.status.message) == ("Running", False)


def test_an_export_that_still_receives_bytes_does_not_wait() -> None:
    world = running(found(("disk-0",)), node("poweroff"), exporting())
    away(world)
    world.argo(found(("disk-0",)), node("poweroff"), exporting("5/10"))
    world.look()
    assert world.summary.reason == "Running"


@pytest.mark.parametrize("reason", ["Denied", "Untrusted", "SecretNotFound"])
def test_a_source_with_another_fault_is_not_waited_for(reason: str) -> None:
    world = running(found(), node("poweroff", "Running"))
    away(world, reason)
    assert world.summary.reason == "Running"


def test_a_step_that_does_not_use_the_source_does_not_wait_for_it() -> None:
    world = running(found(("disk-0",)), node("poweroff"), node("export", disk="disk-0"))
    world.argo(
        found(("disk-0",)),
        node("poweroff"),
        node("export", disk="disk-0"),
        node("convert", "Running", "disk-0"),
    )
    away(world)
    assert world.summary.reason == "Running"


def test_a_failure_is_still_a_failure() -> None:
    broken = failed("export", 13, "scratch is full", "disk-0")
    world = running(found(), node("poweroff"), broken, node("export", "Running", "disk-1"))
    away(world)
    assert "scratch is full" in world.status.message


def test_the_plan_of_a_run_knows_that_its_source_was_verified() -> None:
    world = running(node("preflight", "Running"))
    found_plan = world.cluster.peek(CONFIG_MAP, names.request(world.run), "vmferry")
    assert found_plan is not None
    assert '"verified": true' in found_plan["data"]["plan.json"]
    assert '"waitSeconds": 1800' in found_plan["data"]["plan.json"]
