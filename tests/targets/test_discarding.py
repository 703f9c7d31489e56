"""What an import without an owner in the cluster leaves, once it is given up."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, IMAGE, MACHINE
from steps.targets.harvester.discard import discard
from tests.targets.world import World


def built(**target: Any) -> World:
    world = World(disks=2, **target)
    world.publish_all()
    world.build()
    return world


def given_up(world: World) -> list[str]:
    return discard(world.plan, world.cluster, world.time, clock=world.time.clock)


def test_machine_claims_and_images_go_in_that_order() -> None:
    world = built()
    kinds = [line.partition(" ")[0] for line in given_up(world)]
    assert kinds == [MACHINE.kind, *[CLAIM.kind] * 2, *[IMAGE.kind] * 2]
    assert [*world.vms(), *world.claims(), *world.images()] == []
    assert given_up(world) == []


@pytest.mark.parametrize("start", [True, False])
def test_a_machine_that_is_its_owners_stays_with_all_it_has(start: bool) -> None:
    world = built(start=start)
    if start:
        world.start()
    with pytest.raises(StepError, match="was already started or handed over") as caught:
        given_up(world)
    assert caught.value.code is Exit.CONFLICT
    assert (len(world.vms()), len(world.claims()), len(world.images())) == (1, 2, 2)


def test_what_other_imports_made_stays() -> None:
    world = built()
    uid = world.plan.import_.model_copy(update={"uid": "other"})
    world.plan = world.plan.model_copy(update={"import_": uid})
    assert given_up(world) == []
    assert len(world.vms()) == 1


def test_what_does_not_go_is_named_with_what_holds_it() -> None:
    world = built()
    for claim in world.claims():
        claim["metadata"]["finalizers"] = ["kubernetes.io/pvc-protection"]
        world.cluster.put(claim)
    with pytest.raises(
        StepError, match=r"still being deleted: finalizers: kubernetes.io/pvc-protection"
    ) as caught:
        given_up(world)
    assert caught.value.code is Exit.BUSY
    assert len(world.images()) == 2
