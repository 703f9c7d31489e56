"""An installation with one namespace for everything: the scratch of a run is next to the disks of its VM."""

from __future__ import annotations

from steps.model.kinds import CLAIM, DATA_VOLUME
from steps.targets.cluster.run_objects import RunObjects
from tests.unit.steps.targets.harvester.test_run import a_request
from tests.unit.steps.targets.kubevirt.world import World


def test_the_end_of_a_run_deletes_its_scratch_and_never_the_disks_of_the_vm() -> None:
    world = World(disks=2)
    request = a_request(world.plan)
    request["metadata"]["namespace"] = "default"
    world.cluster.put(request)
    run_objects = RunObjects(world.plan, world.cluster, "default")
    run_objects.prepare(world.machine, world.shape)
    world.carry_out()
    disks = {one["metadata"]["name"] for one in world.cluster.all(DATA_VOLUME, "default")}
    assert len(world.claims()) == 4
    assert run_objects.delete_all() == []
    assert {one["metadata"]["name"] for one in world.cluster.all(CLAIM, "default")} == disks
