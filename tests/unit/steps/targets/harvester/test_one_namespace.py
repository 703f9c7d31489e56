"""An installation with one namespace for everything: the scratch of a run is next to the disks of its VM."""

from __future__ import annotations

from steps.targets.cluster.run_objects import RunObjects
from tests.unit.steps.targets.harvester.test_run import a_request
from tests.unit.steps.targets.harvester.world import World


def test_the_volumes_get_their_own_names_next_to_the_scratch_of_the_run() -> None:
    world = World(disks=2)
    request = a_request(world.plan)
    request["metadata"]["namespace"] = "default"
    world.cluster.put(request)
    RunObjects(world.plan, world.cluster, "default").prepare(world.machine, world.shape)
    assert world.volumes().names == {"disk-0": "web01-disk-0", "disk-1": "web01-disk-1"}
    world.carry_out()
    assert {"web01-disk-0", "web01-disk-1"} <= {one["metadata"]["name"] for one in world.claims()}
