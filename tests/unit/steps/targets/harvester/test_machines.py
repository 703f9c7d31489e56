"""build and start in a cluster: claims, the VM, their owners, and when the owners are removed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, DATA_VOLUME, IMAGE, IMPORT, MACHINE, Object
from steps.targets.cluster.vm_objects import READY_SECONDS, attached_claims
from steps.targets.harvester import image_names
from tests.unit.steps.targets.harvester.stand_ins import a_class
from tests.unit.steps.targets.harvester.world import World

CLAIM_SPEC = {"storageClassName": "x", "resources": {"requests": {"storage": "1Gi"}}}
THEIRS = {names.LABEL_UID: "else", names.LABEL_NAME: "shop", names.LABEL_NAMESPACE: "prod"}


def built(**target: Any) -> World:
    world = World(disks=2, **target)
    world.publish_all()
    world.build()
    return world


def with_cdi() -> World:
    world = World(disks=2, storage_class="lvm")
    world.cluster.put(a_class("lvm", "lvm.driver.harvesterhci.io"))
    world.publish_all()
    return world


def owned(world: World) -> list[str]:
    things = [*world.images(), *world.claims(), *world.vms()]
    return [thing["kind"] for thing in things if thing["metadata"].get("ownerReferences")]


def a_thing(kind: Any, name: str, labels: dict[str, str] | None = None, **more: Any) -> Object:
    metadata = {"name": name, "namespace": "default", "labels": labels or {}}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **more}


# --- build


def test_a_claim_is_as_large_as_the_disk() -> None:
    world = built()
    sizes = [claim["spec"]["resources"]["requests"]["storage"] for claim in world.claims()]
    assert sizes == [str(1 << 30)] * 2


def test_a_claim_with_a_backing_image_is_named_after_the_vm() -> None:
    world = built()
    assert attached_claims(world.vm()) == {"disk-0": "web01-disk-0", "disk-1": "web01-disk-1"}
    image = world.images()[0]
    claim = world.claims()[0]
    assert image["metadata"]["name"].startswith("image-")
    assert claim["metadata"]["annotations"][image_names.IMAGE_ID] == f"default/{image['metadata']['name']}"
    assert claim["spec"]["storageClassName"] == f"lh-{image['metadata']['uid']}"


def test_with_cdi_the_image_and_its_own_claim_are_named_after_the_vm() -> None:
    world = with_cdi()
    world.build()
    assert attached_claims(world.vm()) == {"disk-0": "web01-disk-0", "disk-1": "web01-disk-1"}
    for things in (world.images(), world.claims()):
        assert [one["metadata"]["name"] for one in things] == ["web01-disk-0", "web01-disk-1"]
    assert [one["metadata"]["ownerReferences"][0]["kind"] for one in world.claims()] == [DATA_VOLUME.kind] * 2


@pytest.mark.parametrize("world", [lambda: World(disks=2), with_cdi], ids=["backing image", "cdi"])
def test_a_disk_counts_once_in_a_storage_quota(world: Callable[[], World]) -> None:
    """Rancher's quota, as Harvester checks it when a VM is made. It has room for exactly the disks."""
    made = world()
    made.publish_all()
    made.rules.storage_limit = sum(disk.capacity for disk in made.shape.disks)
    made.build()
    made.start()
    assert "harvesterhci.io/volumeClaimTemplates" not in made.vm()["metadata"]["annotations"]


def test_a_missing_golden_claim_is_retryable() -> None:
    world = with_cdi()
    world.cluster.drop(CLAIM, world.claims()[0]["metadata"]["name"], "default")
    with pytest.raises(StepError, match="CDI has not created claim") as caught:
        world.build()
    assert caught.value.code is Exit.UNREACHABLE


def test_a_missing_image_is_reported() -> None:
    world = World(disks=2)
    world.publish(0)
    with pytest.raises(StepError, match="there is no image of disk-1") as caught:
        world.build()
    assert caught.value.code is Exit.INVALID
    assert world.claims() == []


def test_the_vm_is_off_until_start() -> None:
    world = built()
    assert world.vm()["spec"]["runStrategy"] == "Halted"
    assert world.kubevirt.starts == []


def test_late_fields_reach_a_vm_that_was_not_started() -> None:
    world = built()
    target = world.plan.target.model_copy(update={"memory_mib": 4096})
    world.plan = world.plan.model_copy(update={"target": target})
    world.build()
    guest = world.vm()["spec"]["template"]["spec"]["domain"]["memory"]["guest"]
    assert int(guest) == 4096 << 20  # in bytes, as Harvester's webhook writes it


def test_a_started_vm_is_not_changed() -> None:
    world = built()
    world.start()
    before = json.dumps(world.vm())
    (line,) = world.build()
    assert "belongs to its owner" in line
    assert json.dumps(world.vm()) == before


def test_a_vm_started_by_a_person_stays_running() -> None:
    world = built()
    world.vm()["spec"]["runStrategy"] = "Always"
    world.build()
    world.start()
    assert world.vm()["spec"]["runStrategy"] == "Always"


def test_a_vm_stopped_by_its_owner_is_not_started_again() -> None:
    world = built()
    world.start()
    world.vm()["spec"]["runStrategy"] = "Halted"
    world.vm_objects().start(world.shape)
    assert world.vm()["spec"]["runStrategy"] == "Halted"


# --- objects of others


@pytest.mark.parametrize(
    ("labels", "whose"),
    [
        (THEIRS, r"import prod/shop \(uid else\)"),
        ({"migration.harvesterhci.io/imported": "true"}, "not created by an import"),
    ],
)
def test_a_vm_of_others_is_a_conflict(labels: dict[str, str], whose: str) -> None:
    world = World(disks=2)
    world.publish_all()
    world.cluster.put(a_thing(MACHINE, "web01", labels, spec={"runStrategy": "Halted"}))
    with pytest.raises(StepError, match=f"default/web01 already exists: it .*{whose}") as caught:
        world.build()
    assert caught.value.code is Exit.CONFLICT
    assert world.claims() == []


def test_a_concurrent_vm_of_others_is_a_conflict() -> None:
    world = World()
    world.publish()

    def rival(verb: str, thing: Object) -> None:
        if verb == "create" and thing["kind"] == CLAIM.kind:
            world.cluster.put(a_thing(MACHINE, "web01", THEIRS, spec={"runStrategy": "Always"}))

    world.cluster.admission.append(rival)
    with pytest.raises(StepError, match="belongs to import prod/shop"):
        world.build()
    assert world.vm()["spec"] == {"runStrategy": "Always"}


def test_a_claim_of_others_is_a_conflict() -> None:
    world = World()
    world.publish()
    world.cluster.put(a_thing(CLAIM, "web01-disk-0", THEIRS, spec=CLAIM_SPEC))
    with pytest.raises(
        StepError, match="PersistentVolumeClaim default/web01-disk-0 already exists"
    ) as caught:
        world.build()
    assert caught.value.code is Exit.CONFLICT
    assert world.vms() == []


def test_a_vm_that_is_being_deleted_is_not_a_conflict() -> None:
    world = World()
    world.publish()
    theirs = a_thing(MACHINE, "web01", {names.LABEL_UID: "6f1d"}, spec={"runStrategy": "Halted"})
    theirs["metadata"] |= {"deletionTimestamp": "now", "finalizers": ["kubevirt.io/x"]}
    world.cluster.put(theirs)
    with pytest.raises(StepError, match=r"still being deleted.*kubevirt\.io/x") as caught:
        world.build()
    assert caught.value.code is Exit.BUSY


def test_an_exceeded_quota_for_claims_is_reported() -> None:
    world = World()
    world.publish()
    world.cluster.quota["default", CLAIM] = 0
    with pytest.raises(StepError, match="exceeded quota") as caught:
        world.build()
    assert caught.value.code is Exit.NO_SPACE


# --- start, and removal of the owners


def test_the_import_owns_everything_until_success() -> None:
    world = built()
    assert owned(world) == [IMAGE.kind] * 2 + [CLAIM.kind] * 2 + [MACHINE.kind]
    world.cluster.drop(IMPORT, "web", "default")
    assert (world.images(), world.claims(), world.vms()) == ([], [], [])


def test_success_removes_the_owners() -> None:
    world = built()
    world.start()
    assert owned(world) == []
    world.cluster.drop(IMPORT, "web", "default")
    assert len(world.images()) == len(world.claims()) == 2


def test_other_owners_stay() -> None:
    world = built()
    keeper = world.cluster.put(a_thing(MACHINE, "keeper", spec={"runStrategy": "Halted"}))
    other = {"apiVersion": "v1", "kind": "x", "name": "keeper", "uid": keeper["metadata"]["uid"]}
    world.images()[0]["metadata"]["ownerReferences"].append(other)
    world.vm_objects().start(world.shape)
    world.vm_objects().wait(world.shape)
    assert world.images()[0]["metadata"]["ownerReferences"] == [other]


def test_the_owners_of_a_vm_that_stays_off_are_removed() -> None:
    world = built(start=False)
    world.leave_off()
    assert owned(world) == []
    assert world.vm()["spec"]["runStrategy"] == "Halted"
    assert "belongs to its owner" in world.build()[0]


def test_removal_of_the_owners_survives_conflicts() -> None:
    world = built()
    name = world.images()[0]["metadata"]["name"]
    touched: list[int] = []

    def touch(_cluster: object) -> None:
        if len(touched) < 40 and world.vm()["spec"]["runStrategy"] != "Halted":
            touched.append(1)
            if len(touched) % 2:
                world.cluster.put(world.cluster.peek(IMAGE, name, "default") or {})

    world.cluster.reconcilers.append(touch)
    world.start()
    assert owned(world) == []


def test_a_vm_that_is_not_ready_in_time_has_a_reason() -> None:
    world = built()
    world.kubevirt.looks = 10_000
    with pytest.raises(StepError) as caught:
        world.start()
    assert caught.value.code is Exit.UNREACHABLE
    assert "ErrorUnschedulable; PodScheduled False: 0/3 nodes are available: 3 Insufficient" in str(
        caught.value
    )
    assert READY_SECONDS <= world.time.now < 2 * READY_SECONDS
    assert owned(world)
    world.kubevirt.looks = 0
    world.start()
    assert owned(world) == []


RETRY = "migration.harvesterhci.io/retry=true"


def test_a_deleted_vm_is_reported() -> None:
    world = built()
    world.cluster.drop(MACHINE, "web01", "default")
    with pytest.raises(StepError, match="VM web01 does not exist") as caught:
        world.start()
    assert caught.value.code is Exit.INVALID
    assert RETRY in str(caught.value), "RETRY in Argo repeats only start, with the same result"
