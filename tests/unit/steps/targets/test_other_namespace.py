"""The VM goes to another namespace than its import: who owns its objects, and when the grant counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.grants import ALLOWED
from steps.model.kinds import CLAIM, DATA_VOLUME, IMAGE, IMPORT, LEASE, MACHINE, NAMESPACE, Object
from steps.targets import in_cluster, object_kinds
from steps.targets.cluster.discard import discard
from steps.targets.cluster.permission import check_permission
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster
from tests.unit.steps.targets.harvester.world import World as HarvesterWorld
from tests.unit.steps.targets.kubevirt.landing_world import LandingWorld
from tests.unit.steps.targets.kubevirt.world import World as KubeVirtWorld

Json = dict[str, Any]
World = HarvesterWorld | KubeVirtWorld
THERE: Final = "team-b"
KINDS: Final = (IMAGE, DATA_VOLUME, CLAIM, MACHINE)
TARGETS: Final[dict[str, Callable[..., World]]] = {"harvester": HarvesterWorld, "kubevirt": KubeVirtWorld}


def grant(cluster: FakeCluster, allowed: str | None, namespace: str = THERE) -> None:
    notes = {} if allowed is None else {"annotations": {ALLOWED: allowed}}
    cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, **notes}})


@pytest.fixture(params=list(TARGETS))
def world(request: pytest.FixtureRequest) -> World:
    cluster = FakeCluster()
    cluster.namespaces.add(THERE)
    grant(cluster, "other, default")
    return TARGETS[request.param](cluster=cluster, disks=2, namespace=THERE, needs_grant=True)


def made(world: World, namespace: str = THERE) -> list[Object]:
    return [one for kind in KINDS for one in world.cluster.all(kind, namespace)]


def owner(world: World) -> Object | None:
    return world.cluster.peek(LEASE, names.owner(world.plan.run), THERE)


def test_everything_is_made_there_and_nothing_in_the_namespace_of_the_import(world: World) -> None:
    world.carry_out()
    assert [one["metadata"]["name"] for one in world.cluster.all(MACHINE, THERE)] == ["web01"]
    assert len(world.cluster.all(CLAIM, THERE)) == 2
    assert made(world, "default") == []


def test_a_succeeded_import_has_released_what_it_made(world: World) -> None:
    world.carry_out()
    found = owner(world)
    assert found is not None
    assert "spec" not in found
    before = [one["metadata"]["name"] for one in made(world)]
    world.cluster.drop(LEASE, names.owner(world.plan.run), THERE)
    world.cluster.drop(IMPORT, "web", "default")
    assert [one["metadata"]["name"] for one in made(world)] == before


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_an_unfinished_import_leaves_nothing_when_its_owner_there_is_deleted(
    world: World, steps: int
) -> None:
    for step in world.steps()[:steps]:
        step()
    assert made(world)
    world.cluster.drop(LEASE, names.owner(world.plan.run), THERE)
    assert made(world) == []


def test_the_deletion_of_the_import_alone_deletes_nothing_there(world: World) -> None:
    """Kubernetes would not do it, and the controller deletes the owner."""
    world.steps()[0]()
    world.cluster.drop(IMPORT, "web", "default")
    assert made(world)


def test_an_import_that_does_not_exist_gets_no_owner_there(world: World) -> None:
    world.cluster.drop(IMPORT, "web", "default")
    world.steps()[0]()
    assert owner(world) is None
    assert made(world)


def test_a_lease_of_others_is_not_used(world: World) -> None:
    foreign = {"name": names.owner(world.plan.run), "namespace": THERE, "labels": {names.LABEL_UID: "f00"}}
    world.cluster.put({"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": foreign})
    with pytest.raises(StepError) as caught:
        world.steps()[0]()
    assert caught.value.code is Exit.CONFLICT
    assert made(world) == []


def test_a_vm_of_others_there_is_neither_changed_nor_deleted(world: World) -> None:
    foreign: Json = {
        "apiVersion": MACHINE.api_version,
        "kind": MACHINE.kind,
        "metadata": {"name": "web01", "namespace": THERE},
        "spec": {"runStrategy": "Always", "template": {"spec": {}}},
    }
    world.cluster.put(foreign)
    with pytest.raises(StepError) as caught:
        world.carry_out()
    assert caught.value.code is Exit.CONFLICT
    discard(world.plan, world.cluster, world.time, object_kinds(world.plan), clock=world.time.clock)
    there = world.cluster.peek(MACHINE, "web01", THERE)
    assert there is not None
    assert (there["spec"], there["metadata"].get("labels")) == (foreign["spec"], None)


def target(world: World) -> Any:
    return in_cluster(world.plan, world.cluster, world.time, machine=world.machine, volumes=world.volumes())


CALLS: Final[dict[str, Callable[[World], object]]] = {
    "admit": lambda world: target(world).admit(world.shape, world.volumes()),
    "build": lambda world: target(world).build(world.machine, world.shape),
    "start": lambda world: target(world).start(world.shape),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("allowed", [None, "", "other", "defaults"])
def test_nothing_is_made_without_a_grant(world: World, call: str, allowed: str | None) -> None:
    for step in world.steps()[:2]:
        step()
    before = [dict(one["metadata"]) for one in made(world)]
    grant(world.cluster, allowed)
    world.cluster.calls.clear()
    with pytest.raises(StepError) as caught:
        CALLS[call](world)
    assert caught.value.code is Exit.INVALID
    assert str(caught.value) == (
        "namespace team-b does not allow VMs of imports in default; its owner allows them with: kubectl "
        "annotate namespace team-b migration.harvesterhci.io/allowed-namespaces=default"
    )
    assert [one["metadata"] for one in made(world)] == before
    assert {one.kind for one in world.cluster.calls if one.namespace == THERE} == set()


def test_a_disk_is_not_published_without_a_grant(world: World, tmp_path: Path) -> None:
    grant(world.cluster, None)
    publisher = in_cluster(
        world.plan, world.cluster, world.time, machine=world.machine, serving=world.serving
    )
    with pytest.raises(StepError, match="does not allow VMs of imports in default"):
        publisher.publish("disk-0", tmp_path, lambda done, total: None)
    assert made(world) == []


def test_what_was_made_is_stopped_also_without_a_grant(world: World) -> None:
    world.carry_out()
    grant(world.cluster, None)
    assert [one for one in target(world).halt() if one.startswith("VirtualMachine team-b/")]
    assert world.cluster.all(MACHINE, THERE)[0]["spec"]["runStrategy"] == "Halted"


@pytest.mark.parametrize("allowed", ["default", "*", " a ,default,b"])
def test_a_grant_is_a_list_of_namespaces_or_all(world: World, allowed: str) -> None:
    grant(world.cluster, allowed)
    check_permission(world.cluster, world.plan)


def test_the_answer_does_not_show_whether_the_namespace_exists(world: World) -> None:
    words = []
    for _ in range(2):
        grant(world.cluster, None)
        with pytest.raises(StepError) as caught:
            check_permission(world.cluster, world.plan)
        words.append(str(caught.value))
        world.cluster.drop(NAMESPACE, THERE)
    with pytest.raises(StepError) as caught:
        check_permission(world.cluster, world.plan)
    assert {*words, str(caught.value)} == {words[0]}


def test_a_person_who_runs_an_import_needs_no_grant(world: World) -> None:
    own = world.plan.target.model_copy(update={"needs_grant": False})
    grant(world.cluster, None)
    check_permission(world.cluster, world.plan.model_copy(update={"target": own}))


# --- disks that land on their volumes


def landing() -> LandingWorld:
    world = LandingWorld(namespace=THERE, needs_grant=True)
    world.cluster.namespaces.add(THERE)
    grant(world.cluster, "default")
    return world


def test_a_landed_disk_is_handed_over_to_the_namespace_of_the_vm() -> None:
    world = landing()
    world.carry_out()
    (claim,) = world.cluster.all(CLAIM, THERE)
    assert world.cluster.all(CLAIM, "default") == []
    assert [one["kind"] for one in claim["metadata"]["ownerReferences"]] == ["VirtualMachine"]


def test_a_landed_disk_stays_where_it_is_without_a_grant() -> None:
    world = landing()
    for step in (world.admit, world.build, world.export):
        step()
    grant(world.cluster, None)
    with pytest.raises(StepError, match="does not allow VMs of imports in default"):
        world.hand_over()
    assert world.cluster.all(CLAIM, THERE) == []
    grant(world.cluster, "default")
    world.hand_over()
    assert len(world.cluster.all(CLAIM, THERE)) == 1
