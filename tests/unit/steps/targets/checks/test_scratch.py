"""The room for scratch in the step `admit`, and the reasons of both: the target and the installation."""

from __future__ import annotations

import pytest

from steps.admit import ClusterFiles
from steps.model.admission import RefusedError, raise_all, reasons_of
from steps.model.contract import Exit, StepError
from steps.model.kinds import STORAGE_CLASS
from steps.model.plan import ScratchPlan
from steps.targets.cluster.run_objects import RunObjects, scratch_size
from steps.targets.harvester.admission_check import AdmissionCheck
from tests.unit.builders import a_disk
from tests.unit.steps.targets.harvester.stand_ins import a_class
from tests.unit.steps.targets.harvester.test_run import a_request
from tests.unit.steps.targets.harvester.world import GIB, World
from tests.unit.steps.targets.surroundings import a_capacity


def files(world: World) -> ClusterFiles:
    run_objects = RunObjects(world.plan, world.cluster, "vmferry")
    return ClusterFiles(run_objects, world.machine, world.plan.run)


@pytest.fixture
def world() -> World:
    made = World(disks=2)
    made.plan = made.plan.model_copy(update={"scratch": ScratchPlan(storage_class="fast")})
    made.cluster.put(a_class("fast", provisioner="example.com/disk"))
    made.cluster.put(a_request(made.plan))
    return made


def admit(world: World) -> None:
    scratch = files(world).scratch_needs()
    AdmissionCheck(world.plan, world.machine, world.cluster, world.volumes(), scratch).run(world.shape)


def test_a_class_without_room_for_scratch_is_refused(world: World) -> None:
    world.cluster.put(a_capacity("fast", "10Gi"))
    admit(world)
    world.cluster.put(a_capacity("fast", "1Gi"))
    with pytest.raises(StepError, match="storage class fast has no room") as caught:
        admit(world)
    assert caught.value.code is Exit.NO_SPACE
    assert "scratch of disk-0" in str(caught.value)


def test_scratch_and_volumes_of_one_class_are_added_up(world: World) -> None:
    world.plan = world.plan.model_copy(update={"scratch": ScratchPlan()})
    needed = {claim.storage_class for claim in files(world).scratch_needs()}
    assert needed == {"harvester-longhorn"}


def test_scratch_that_exists_needs_no_room(world: World) -> None:
    made = files(world)
    assert [claim.size for claim in made.scratch_needs()] == [scratch_size(GIB, world.plan.scratch)] * 2
    made.prepare(world.shape)
    assert made.scratch_needs() == []
    world.cluster.put(a_capacity("fast", "0"))
    admit(world)


def test_a_blank_disk_needs_little_scratch(world: World) -> None:
    world.machine = world.machine.model_copy(update={"disks": (a_disk(0, blank=True),)})
    (claim,) = files(world).scratch_needs()
    assert claim.size == scratch_size(0, world.plan.scratch)


def test_without_a_default_class_scratch_is_not_judged(world: World) -> None:
    world.plan = world.plan.model_copy(update={"scratch": ScratchPlan()})
    world.cluster.drop(STORAGE_CLASS, "harvester-longhorn")
    assert files(world).scratch_needs() == []


def test_several_reasons_stay_apart() -> None:
    reasons = [StepError(Exit.CONFLICT, "a"), StepError(Exit.NO_SPACE, "b", "c")]
    with pytest.raises(RefusedError) as caught:
        raise_all("web cannot be imported", reasons)
    assert caught.value.code is Exit.CONFLICT
    assert str(caught.value) == "web cannot be imported: a | b: c"
    assert list(reasons_of(caught.value)) == reasons
    raise_all("nothing", [])
