"""Killed at every single request, before or after it, and run again: the same result, and nothing twice."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from steps.model.contract import StepError
from steps.model.kinds import CLAIM, DATA_VOLUME, MACHINE
from tests.unit.steps.targets.harvester.fake_cluster import Fault, KilledError
from tests.unit.steps.targets.harvester.test_kill import plain
from tests.unit.steps.targets.kubevirt.world import World

End = dict[str, Any]


def the_end(world: World) -> End:
    return {
        f"{kind.kind} {one['metadata']['name']}": plain(one)
        for kind in (CLAIM, DATA_VOLUME, MACHINE)
        for one in world.cluster.all(kind, "default")
    }


def two_disks() -> World:
    return World(disks=2)


def left_off() -> World:
    return World(start=False)


def carry_out(world: World) -> int:
    """The steps as Argo runs them: one that dies or fails for a temporary cause runs again."""
    died = 0
    for number in range(len(world.steps())):
        for _ in range(4):
            try:
                world.steps()[number]()
                break
            except KilledError:
                died += 1
                world.cluster.fault = None
            except StepError as error:
                if error.code.permanent:
                    raise
        else:
            raise AssertionError("a step did not end well in four attempts")
    return died


@functools.cache
def undisturbed(world: Callable[[], World]) -> tuple[End, int]:
    made = world()
    assert carry_out(made) == 0
    return the_end(made), len(made.cluster.calls)


@pytest.mark.parametrize("answer_only", [False, True], ids=["request lost", "answer lost"])
@pytest.mark.parametrize("world", [two_disks, left_off])
def test_a_kill_at_every_request_has_the_same_result(
    world: Callable[[], World], *, answer_only: bool
) -> None:
    end, requests = undisturbed(world)
    assert requests > 20
    for at in range(requests):
        made = world()
        made.cluster.fault = Fault(at, answer_only=answer_only)
        assert carry_out(made) == 1, at
        assert the_end(made) == end, f"killed at request {at}: {made.cluster.calls[at]}"
        assert made.kubevirt.starts in ([], ["web01"])
        assert len(made.cdi.made) == len(set(made.cdi.made)), "a DataVolume was made twice"
