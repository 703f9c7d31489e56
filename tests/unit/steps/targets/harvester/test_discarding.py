"""Deletes what an import without an owner in the cluster left, when it is discarded."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, IMAGE, MACHINE
from steps.targets.cluster.discard import discard
from steps.targets.harvester import KINDS
from tests.unit.steps.targets.harvester.world import World


def built(**target: Any) -> World:
    world = World(disks=2, **target)
    world.publish_all()
    world.build()
    return world


def discarded(world: World) -> list[str]:
    return discard(world.plan, world.cluster, world.time, KINDS, clock=world.time.clock)


def test_the_vm_is_deleted_before_claims_and_images() -> None:
    world = built()
    kinds = [line.partition(" ")[0] for line in discarded(world)]
    assert kinds == [MACHINE.kind, *[CLAIM.kind] * 2, *[IMAGE.kind] * 2]
    assert [*world.vms(), *world.claims(), *world.images()] == []
    assert discarded(world) == []


@pytest.mark.parametrize("start", [True, False])
def test_a_vm_that_was_handed_over_stays(start: bool) -> None:
    world = built(start=start)
    (world.start if start else world.leave_off)()
    with pytest.raises(StepError, match="was already started or handed over") as caught:
        discarded(world)
    assert caught.value.code is Exit.CONFLICT
    assert (len(world.vms()), len(world.claims()), len(world.images())) == (1, 2, 2)


def test_objects_of_other_imports_stay() -> None:
    world = built()
    uid = world.plan.import_.model_copy(update={"uid": "other"})
    world.plan = world.plan.model_copy(update={"import_": uid})
    assert discarded(world) == []
    assert len(world.vms()) == 1


def test_objects_that_stay_are_named_with_their_finalizers() -> None:
    world = built()
    for claim in world.claims():
        claim["metadata"]["finalizers"] = ["kubernetes.io/pvc-protection"]
        world.cluster.put(claim)
    with pytest.raises(
        StepError, match=r"still being deleted: finalizers: kubernetes.io/pvc-protection"
    ) as caught:
        discarded(world)
    assert caught.value.code is Exit.BUSY
    assert len(world.images()) == 2
