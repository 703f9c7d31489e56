"""Killed at every single request, before or after it, and run again: the same result, and nothing twice."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import pytest

from steps.model.contract import StepError
from steps.model.kinds import KINDS, Kind
from steps.targets.cluster.run_objects import RunObjects
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster, Fault, KilledError
from tests.unit.steps.targets.harvester.stand_ins import a_class, class_by_uid
from tests.unit.steps.targets.harvester.test_run import a_request
from tests.unit.steps.targets.harvester.world import World

End = dict[str, Any]


def the_end(cluster: FakeCluster, namespaces: tuple[str, ...] = ("default", "vmferry")) -> End:
    """The resulting objects, without what differs between two clusters: uids and versions."""
    return {
        f"{kind.kind} {namespace}/{one['metadata']['name']}": plain(one)
        for kind in sorted(KINDS.values())
        for namespace in namespaces
        for one in cluster.all(kind, namespace)
        if kind.kind != "StorageClass"
    }


def plain(thing: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(class_by_uid(json.dumps(thing)))
    for key in ("uid", "resourceVersion", "creationTimestamp"):
        kept["metadata"].pop(key, None)
    for owner in kept["metadata"].get("ownerReferences") or []:
        owner.pop("uid")
    if kept["kind"] == "VirtualMachine":
        kept.pop("status", None)
    return kept


def backing() -> World:
    return World(disks=2)


def cdi() -> World:
    world = World(storage_class="lvm")
    world.cluster.put(a_class("lvm", "lvm.driver.harvesterhci.io"))
    return world


def left_off() -> World:
    return World(start=False)


def again() -> World:
    """After an import of other bytes that succeeded and was deleted."""
    world = World()
    for step in world.steps():
        step()
    for kind, name in ((kind_of("VirtualMachineImport"), "web"), (kind_of("VirtualMachine"), "web01")):
        world.cluster.drop(kind, name, "default")
    world.cluster.drop(kind_of("PersistentVolumeClaim"), world.claims()[0]["metadata"]["name"], "default")
    world.serving.data["disk-0"] = b"other bytes"
    world.planned("second")
    world.cluster.calls.clear()
    world.kubevirt.starts.clear()
    return world


def kind_of(kind: str) -> Kind:
    return next(one for one in KINDS.values() if one.kind == kind)


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
    return the_end(made.cluster), len(made.cluster.calls)


@pytest.mark.parametrize("answer_only", [False, True], ids=["request lost", "answer lost"])
@pytest.mark.parametrize("world", [backing, cdi, left_off, again])
def test_a_kill_at_every_request_has_the_same_result(
    world: Callable[[], World], *, answer_only: bool
) -> None:
    end, requests = undisturbed(world)
    assert requests > 20
    for at in range(requests):
        made = world()
        made.cluster.fault = Fault(at, answer_only=answer_only)
        assert carry_out(made) == 1, at
        assert the_end(made.cluster) == end, f"killed at request {at}: {made.cluster.calls[at]}"
        assert made.kubevirt.starts in ([], ["web01"])
        assert len(made.harvester.made) == len(set(made.harvester.made)), "an image was made twice"


@pytest.mark.parametrize("answer_only", [False, True], ids=["request lost", "answer lost"])
def test_a_run_is_prepared_and_released_after_any_kill(*, answer_only: bool) -> None:
    def prepared(at: int | None) -> World:
        made = World(disks=2)
        made.cluster.put(a_request(made.plan))
        made.cluster.fault = None if at is None else Fault(at, answer_only=answer_only)
        for action in ("prepare", "release"):
            for _ in range(2):
                run = RunObjects(made.plan, made.cluster, "vmferry")
                try:
                    run.prepare(made.machine, made.shape) if action == "prepare" else run.delete_all()
                    break
                except KilledError:
                    made.cluster.fault = None
        return made

    plain_run = prepared(None)
    for at in range(len(plain_run.cluster.calls)):
        assert the_end(prepared(at).cluster) == the_end(plain_run.cluster), plain_run.cluster.calls[at]
