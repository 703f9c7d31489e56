"""Killed at every single request, before or after it, and run again: no volume is lost or left over."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from steps.model.contract import StepError
from steps.model.kinds import CLAIM, IMAGE, MACHINE, PERSISTENT_VOLUME, POD, SERVICE
from steps.targets.cluster import markers
from tests.unit.steps.targets.harvester.fake_cluster import Fault, KilledError
from tests.unit.steps.targets.harvester.mixed_world import TENANT, MixedWorld
from tests.unit.steps.targets.harvester.test_kill import plain

End = dict[str, Any]


def the_end(world: MixedWorld) -> End:
    """The resulting objects, without the Workflow that finished them and without names of volumes."""
    found = {
        f"{kind.kind} {one['metadata'].get('namespace', '')}/{one['metadata']['name']}": plain(one)
        for kind in (CLAIM, IMAGE, MACHINE, POD, SERVICE)
        for one in world.cluster.all(kind)
    }
    for one in found.values():
        (one["metadata"].get("annotations") or {}).pop(markers.PUBLISHED_BY, None)
        one["spec"].pop("volumeName", None)
    return found


def two_ways() -> MixedWorld:
    return MixedWorld()


def one_namespace() -> MixedWorld:
    return MixedWorld(release=TENANT)


def left_off() -> MixedWorld:
    return MixedWorld(disks=1, plain=(0,), start=False)


def carry_out(world: MixedWorld, *, again: bool) -> int:
    """The steps as Argo runs them: one that dies runs again; or, with `again`, a new Workflow of the run."""
    died, number = 0, 0
    steps = world.steps()
    for _ in range(4 * len(steps)):
        if number == len(steps):
            return died
        try:
            steps[number]()
            number += 1
        except KilledError:
            died += 1
            world.cluster.fault = None
            if again and number < len(steps) - 1:
                number, world.workflow = 0, f"{world.plan.run}-r{died}"
        except StepError as error:
            if error.code.permanent:
                raise
    raise AssertionError("the steps did not end well")


def holds_every_disk_once(world: MixedWorld) -> bool:
    """Each plain volume has the content of its disk, and no other volume is left."""
    attached = world.attached()
    assert not [one for one in attached.values() if markers.UNFINISHED in one["metadata"]["annotations"]]
    expected = {rule.disk for rule in world.rows}
    content = world.volume_controller.content
    found = {disk for disk, claim in attached.items() if content.get(claim["spec"]["volumeName"]) == disk}
    return found == expected and len(world.cluster.all(PERSISTENT_VOLUME)) == len(attached)


@functools.cache
def undisturbed(world: Callable[[], MixedWorld]) -> tuple[End, int]:
    made = world()
    assert carry_out(made, again=False) == 0
    made.volume_controller.reconcile()
    assert holds_every_disk_once(made)
    return the_end(made), len(made.cluster.calls)


@pytest.mark.parametrize("answer_only", [False, True], ids=["request lost", "answer lost"])
@pytest.mark.parametrize("again", [False, True], ids=["same workflow", "new workflow"])
@pytest.mark.parametrize("world", [two_ways, one_namespace, left_off])
def test_a_kill_at_every_request_has_the_same_result(
    world: Callable[[], MixedWorld], *, again: bool, answer_only: bool
) -> None:
    end, requests = undisturbed(world)
    assert requests > 20
    for at in range(requests):
        made = world()
        made.cluster.fault = Fault(at, answer_only=answer_only)
        assert carry_out(made, again=again) == 1, at
        made.volume_controller.reconcile()
        where = f"killed at request {at}: {made.cluster.calls[at]}"
        assert the_end(made) == end, where
        assert holds_every_disk_once(made), where
        assert made.kubevirt.starts in ([], ["web01"])
        assert len(made.harvester.made) == len(set(made.harvester.made)), "an image was made twice"
