"""The fields of spec.virtualMachine and of disks at KubeVirt: checks, objects, the start."""

from __future__ import annotations

from typing import Any

import pytest

from steps.model.admission import Verdict
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, MACHINE, MATCHERS, RESOURCE_QUOTA, Object
from steps.model.plan import DiskRule
from steps.model.vm_settings import Matcher, RunStrategy, VmSettings
from tests.unit.steps.targets.kubevirt.world import World

U1 = Matcher(kind="VirtualMachineClusterInstancetype", name="u1")
OWN = Matcher(kind="VirtualMachineInstancetype", name="u1")
FEDORA = Matcher(kind="VirtualMachineClusterPreference", name="fedora")


def a_world(**settings: Any) -> World:
    return World(settings=VmSettings(**settings))


def put(world: World, matcher: Matcher, memory: str = "4Gi") -> None:
    kind = MATCHERS[matcher.kind]
    where = {"namespace": "default"} if kind.namespaced else {}
    metadata = {"name": matcher.name, **where}
    spec = {"memory": {"guest": memory}, "cpu": {"guest": 2}}
    world.cluster.put({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec})


def vm(world: World) -> Object:
    (found,) = world.cluster.all(MACHINE)
    return found


@pytest.mark.parametrize(
    ("matcher", "what"), [(U1, "instancetype"), (OWN, "instancetype"), (FEDORA, "preference")]
)
def test_what_does_not_exist_is_refused_before_the_shutdown(matcher: Matcher, what: str) -> None:
    world = a_world(**{what: matcher})
    with pytest.raises(StepError, match=f"the {what} {matcher.name} does not exist") as caught:
        world.admit()
    assert caught.value.code is Exit.NOT_FOUND
    assert matcher.kind in caught.value.why
    put(world, matcher)
    findings = {one.check: one.verdict for one in world.admit().findings}
    assert findings[what] is Verdict.PASSED


def test_an_instancetype_of_another_namespace_does_not_count() -> None:
    world = a_world(instancetype=OWN)
    put(world, U1)
    with pytest.raises(StepError, match="does not exist"):
        world.admit()


def test_without_the_right_to_read_it_is_not_checked() -> None:
    world = a_world(instancetype=U1)
    world.cluster.denied.add(("get", MATCHERS[U1.kind]))
    findings = {one.check: one.verdict for one in world.admit().findings}
    assert findings["instancetype"] is Verdict.NOT_CHECKED


@pytest.mark.parametrize(("limit", "fits"), [("4Gi", True), ("3Gi", False)])
def test_the_quota_must_have_room_for_the_memory_of_the_instancetype(limit: str, fits: bool) -> None:
    world = a_world(instancetype=U1)
    put(world, U1)
    metadata = {"name": "small", "namespace": "default"}
    spec = {"hard": {"requests.memory": limit}}
    world.cluster.put({"apiVersion": "v1", "kind": RESOURCE_QUOTA.kind, "metadata": metadata, "spec": spec})
    if fits:
        world.admit()
        return
    with pytest.raises(StepError, match=r"requests.memory of ResourceQuota small"):
        world.admit()


@pytest.mark.parametrize("strategy", [RunStrategy.ALWAYS, RunStrategy.ONCE, None])
def test_the_vm_is_built_stopped_and_started_with_its_run_strategy(strategy: RunStrategy | None) -> None:
    world = a_world(run_strategy=strategy)
    world.publish_all()
    world.build()
    assert vm(world)["spec"]["runStrategy"] == "Halted"
    world.start()
    assert vm(world)["spec"]["runStrategy"] == (strategy or "RerunOnFailure")


def test_a_vm_that_a_person_starts_is_left_with_manual() -> None:
    world = World(start=False, settings=VmSettings(run_strategy=RunStrategy.MANUAL))
    world.carry_out()
    assert vm(world)["spec"]["runStrategy"] == "Manual"
    assert "migration.harvesterhci.io/handed-over" in str(vm(world)["metadata"]["annotations"])


def test_build_refuses_a_forged_request_before_it_creates_a_vm() -> None:
    forged = {"spec": {"template": {"spec": {"volumes": [{"name": "x", "secret": {"secretName": "db"}}]}}}}
    world = a_world(patch=forged, patch_paths=("spec",))
    world.publish_all()
    with pytest.raises(StepError, match="the patch of the VM is refused") as caught:
        world.build()
    assert caught.value.code is Exit.INVALID
    assert world.cluster.all(MACHINE) == []


def test_the_patch_cannot_start_the_vm_or_change_its_owner() -> None:
    """Also if a check is missing: what the step sets itself comes after the patch."""
    world = a_world()
    world.publish_all()
    forged = VmSettings(patch={"spec": {"runStrategy": "Always"}, "metadata": {"ownerReferences": []}})
    shape = world.shape.model_copy(update={"settings": forged})
    world.vm_objects().build(shape)
    assert vm(world)["spec"]["runStrategy"] == "Halted"
    assert vm(world)["metadata"]["ownerReferences"]


def test_a_volume_gets_the_name_of_its_row() -> None:
    world = World(disks=2)
    with_rows(world, DiskRule(disk="disk-1", name="archive"))
    assert world.volumes().names == {"disk-0": "web01-disk-0", "disk-1": "archive"}
    world.publish_all()
    world.build()
    volumes = vm(world)["spec"]["template"]["spec"]["volumes"]
    assert [one["persistentVolumeClaim"]["claimName"] for one in volumes] == ["web01-disk-0", "archive"]


def test_a_name_that_is_taken_is_refused_and_not_changed() -> None:
    world = World()
    with_rows(world, DiskRule(disk="disk-0", name="archive"))
    metadata = {"name": "archive", "namespace": "default"}
    world.cluster.put({"apiVersion": "v1", "kind": CLAIM.kind, "metadata": metadata, "spec": {}})
    with pytest.raises(StepError, match="the volume of disk-0 cannot be named archive") as caught:
        world.volumes()
    assert caught.value.code is Exit.CONFLICT


def test_modes_of_a_row_are_those_of_the_volume_also_with_the_class_of_the_import() -> None:
    world = World(storage_class="ceph")
    with_rows(world, DiskRule(disk="disk-0", volume_mode="Filesystem", access_mode="ReadWriteOnce"))
    storage = world.publish()["spec"]["storage"]
    assert storage["storageClassName"] == "ceph"
    assert (storage["volumeMode"], storage["accessModes"]) == ("Filesystem", ["ReadWriteOnce"])


def with_rows(world: World, *rows: DiskRule) -> None:
    target = world.plan.target.model_copy(update={"disks": rows})
    world.plan = world.plan.model_copy(update={"target": target})
