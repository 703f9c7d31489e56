"""Killed at every single request, before or after it, and run again: no volume is lost or left over."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from steps.model.contract import StepError
from steps.model.kinds import CLAIM, MACHINE, PERSISTENT_VOLUME, POD
from steps.targets.cluster import markers
from tests.unit.steps.targets.harvester.fake_cluster import Fault, KilledError
from tests.unit.steps.targets.harvester.test_kill import plain
from tests.unit.steps.targets.kubevirt.landing_world import RELEASE, TENANT, LandingWorld

End = dict[str, Any]


def the_end(world: LandingWorld) -> End:
    found = {
        f"{kind.kind} {one['metadata'].get('namespace', '')}/{one['metadata']['name']}": plain(one)
        for kind in (CLAIM, MACHINE, POD)
        for one in world.cluster.all(kind)
    }
    return {name: {**one, "spec": {**one["spec"], "volumeName": None}} for name, one in found.items()}


def two_disks() -> LandingWorld:
    return LandingWorld(disks=2)


def one_namespace() -> LandingWorld:
    return LandingWorld(disks=2, release=TENANT)


def placed() -> LandingWorld:
    return LandingWorld(disks=2, waits=True)


def left_off() -> LandingWorld:
    return LandingWorld(start=False)


def carry_out(world: LandingWorld, *, again: bool) -> int:
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
            number = 0 if again and number < len(steps) - 1 else number
        except StepError as error:
            if error.code.permanent:
                raise
    raise AssertionError("the steps did not end well")


def holds_every_disk_once(world: LandingWorld) -> bool:
    """Each volume of the VM has the content of its disk, and no other volume is left."""
    attached = {
        volume["name"]: world.claim(volume["persistentVolumeClaim"]["claimName"])
        for volume in world.vm()["spec"]["template"]["spec"]["volumes"]
    }
    unfinished = [one for one in attached.values() if markers.UNFINISHED in one["metadata"]["annotations"]]
    found = {name: world.volumes.content.get(claim["spec"]["volumeName"]) for name, claim in attached.items()}
    volumes = world.cluster.all(PERSISTENT_VOLUME)
    return not unfinished and found == {name: name for name in attached} and len(volumes) == len(attached)


@functools.cache
def undisturbed(world: Callable[[], LandingWorld]) -> tuple[End, int]:
    made = world()
    assert carry_out(made, again=False) == 0
    made.volumes.reconcile()
    assert holds_every_disk_once(made)
    return the_end(made), len(made.cluster.calls)


@pytest.mark.parametrize("answer_only", [False, True], ids=["request lost", "answer lost"])
@pytest.mark.parametrize("again", [False, True], ids=["same workflow", "new workflow"])
@pytest.mark.parametrize("world", [two_disks, one_namespace, placed, left_off])
def test_a_kill_at_every_request_has_the_same_result(
    world: Callable[[], LandingWorld], *, again: bool, answer_only: bool
) -> None:
    end, requests = undisturbed(world)
    assert requests > 20
    for at in range(requests):
        made = world()
        made.cluster.fault = Fault(at, answer_only=answer_only)
        assert carry_out(made, again=again) == 1, at
        made.volumes.reconcile()
        where = f"killed at request {at}: {made.cluster.calls[at]}"
        assert the_end(made) == end, where
        assert holds_every_disk_once(made), where
        assert made.kubevirt.starts in ([], ["web01"])


def test_nothing_is_left_in_the_release_namespace() -> None:
    world = LandingWorld(disks=2, waits=True)
    world.carry_out()
    world.volumes.reconcile()
    assert world.claims(RELEASE) == []
    assert world.pods() == []
    assert len(world.claims()) == 2
