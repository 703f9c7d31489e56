"""Stops the VM at the target before the VM at the source is started again, and keeps stale disks from use."""

from __future__ import annotations

import pytest

from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, IMAGE, MACHINE
from steps.targets.cluster import markers
from steps.targets.cluster.halting import HALT_SECONDS, halt
from steps.targets.harvester import KINDS
from tests.unit.steps.targets.harvester.world import World


def built(*, started: bool = False) -> World:
    world = World(disks=2)
    world.publish_all()
    world.build()
    if started:
        world.start()
    return world


def halted(world: World) -> list[str]:
    return halt(world.plan, world.cluster, world.time, KINDS, clock=world.time.clock)


@pytest.mark.parametrize("started", [False, True])
def test_the_vm_is_stopped_and_everything_marked(started: bool) -> None:
    world = built(started=started)
    remaining = halted(world)
    assert world.vm()["spec"]["runStrategy"] == "Halted"
    things = [*world.vms(), *world.claims(), *world.images()]
    assert all(markers.STALE in thing["metadata"]["annotations"] for thing in things)
    assert [line.split()[0] for line in remaining] == [
        *([MACHINE.kind] * 1),
        *([CLAIM.kind] * 2),
        *([IMAGE.kind] * 2),
    ]


def test_a_second_call_changes_nothing() -> None:
    world = built(started=True)
    first = halted(world)
    before = [thing["metadata"]["annotations"] for thing in (*world.vms(), *world.claims())]
    assert halted(world) == first
    assert [thing["metadata"]["annotations"] for thing in (*world.vms(), *world.claims())] == before


def test_nothing_was_made_yet() -> None:
    assert halted(World()) == []


def test_the_vm_of_another_import_is_not_touched() -> None:
    world = built(started=True)
    world.planned(uid="other")
    assert halted(world) == []
    assert world.vm()["spec"]["runStrategy"] != "Halted"


def test_a_vm_that_does_not_stop_is_an_error() -> None:
    world = built(started=True)
    world.cluster.reconcilers.clear()  # KubeVirt does not react
    world.vm()["status"] = {"created": True, "ready": True, "printableStatus": "Running"}
    begun = world.time.clock()
    with pytest.raises(StepError) as caught:
        halted(world)
    assert caught.value.code is Exit.BUSY
    assert "Running" in str(caught.value)
    assert world.time.clock() - begun >= HALT_SECONDS


def test_a_stale_vm_is_not_started() -> None:
    world = built()
    halted(world)
    with pytest.raises(StepError) as caught:
        world.start()
    assert caught.value.code is Exit.STALE


def test_a_later_run_rebuilds_a_stale_vm_that_never_ran() -> None:
    world = built()
    halted(world)
    world.build()
    world.start()
    assert markers.STALE not in world.vm()["metadata"]["annotations"]
    assert world.vm()["spec"]["runStrategy"] == "RerunOnFailure"


def test_a_later_run_does_not_touch_a_stale_vm_that_ran() -> None:
    world = built(started=True)
    halted(world)
    with pytest.raises(StepError) as caught:
        world.build()
    assert caught.value.code is Exit.CONFLICT
    assert "kubectl delete vm" in str(caught.value)
    assert world.vm()["spec"]["runStrategy"] == "Halted"
