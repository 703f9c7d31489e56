"""admit and delete-scratch in a cluster: scratch claims, Services, machine.json, and their leftovers."""

from __future__ import annotations

import math

import pytest

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, CONFIG_MAP, POD, SERVICE, Object
from steps.model.machine import Machine
from steps.model.plan import Plan, ScratchPlan
from steps.runtime.program import MACHINE
from steps.targets.cluster.run_objects import RunObjects, scratch_size
from tests.unit.builders import a_disk
from tests.unit.steps.targets.harvester.world import GIB, World


def a_request(plan: Plan, uid: str = "request-uid") -> Object:
    metadata = {"name": names.request(plan.run), "namespace": "vmferry", "uid": uid}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"plan.json": "{}"}}


@pytest.fixture
def world() -> World:
    made = World(disks=2)
    made.cluster.put(a_request(made.plan))
    return made


def run(world: World) -> RunObjects:
    return RunObjects(world.plan, world.cluster, "vmferry")


def prepare(world: World) -> None:
    run(world).prepare(world.machine, world.shape)


def claim(world: World, disk: int = 0) -> Object:
    found = world.cluster.peek(CLAIM, f"{world.plan.run}-disk-{disk}", "vmferry")
    assert found is not None
    return found


@pytest.mark.parametrize("capacity", [1, GIB, 500 * GIB])
def test_scratch_has_room_for_disk_and_filesystem(capacity: int) -> None:
    expected = math.ceil((capacity * 1.02 + 256 * 1024 * 1024) * 1.06)
    assert scratch_size(capacity, ScratchPlan()) == expected
    assert scratch_size(capacity, ScratchPlan(filesystem_factor=1)) < expected


def test_machine_json_is_published_last_and_unchanged(world: World) -> None:
    prepare(world)
    found = world.cluster.peek(CONFIG_MAP, f"{world.plan.run}-machine", "vmferry")
    assert found is not None
    assert Machine.model_validate_json(found["data"][MACHINE]) == world.machine
    creates = [line for line in world.cluster.writes() if line.startswith("create")]
    assert creates[-1].startswith("create configmaps")


def test_claims_follow_the_settings(world: World) -> None:
    scratch = ScratchPlan(storage_class="fast", access_mode="ReadWriteOncePod")
    world.plan = world.plan.model_copy(update={"scratch": scratch})
    prepare(world)
    assert claim(world)["spec"]["storageClassName"] == "fast"
    assert claim(world)["spec"]["accessModes"] == ["ReadWriteOncePod"]


def test_without_a_setting_the_cluster_chooses_the_class(world: World) -> None:
    prepare(world)
    assert "storageClassName" not in claim(world)["spec"]


def test_the_service_selects_only_serve_of_the_disk(world: World) -> None:
    prepare(world)
    found = world.cluster.peek(SERVICE, f"{world.plan.run}-disk-1", "vmferry")
    assert found is not None
    assert found["spec"]["selector"] == {
        "migration.harvesterhci.io/run": world.plan.run,
        "migration.harvesterhci.io/disk": "disk-1",
        "migration.harvesterhci.io/stage": "serve",
    }


def test_the_request_owns_all_objects(world: World) -> None:
    prepare(world)
    world.cluster.drop(CONFIG_MAP, names.request(world.plan.run), "vmferry")
    assert [world.cluster.all(kind, "vmferry") for kind in (CLAIM, SERVICE, CONFIG_MAP)] == [[], [], []]


def test_prepare_is_idempotent(world: World) -> None:
    prepare(world)
    uid = claim(world)["metadata"]["uid"]
    prepare(world)
    assert claim(world)["metadata"]["uid"] == uid


def test_a_changed_vm_is_published_again(world: World) -> None:
    prepare(world)
    world.machine = world.machine.model_copy(update={"notes": "changed"})
    prepare(world)
    found = world.cluster.peek(CONFIG_MAP, f"{world.plan.run}-machine", "vmferry")
    assert found is not None
    assert "changed" in found["data"][MACHINE]


def test_a_disk_that_grew_makes_its_claim_grow(world: World) -> None:
    prepare(world)
    claim(world)["spec"]["resources"]["requests"]["storage"] = "1363Mi"  # as the API server may write it
    world.machine = world.machine.model_copy(update={"disks": (a_disk(0, capacity=2 * GIB), a_disk(1))})
    prepare(world)
    wanted = scratch_size(2 * GIB, ScratchPlan())
    assert claim(world)["spec"]["resources"]["requests"]["storage"] == str(wanted)


def test_a_claim_that_cannot_grow_names_the_setting(world: World) -> None:
    prepare(world)
    world.cluster.denied.add(("patch", CLAIM))
    world.machine = world.machine.model_copy(update={"disks": (a_disk(0, capacity=2 * GIB), a_disk(1))})
    with pytest.raises(StepError, match=r"too small.*scratch\.storageClass") as caught:
        prepare(world)
    assert caught.value.code is Exit.NO_SPACE


def test_an_exceeded_quota_is_reported(world: World) -> None:
    world.cluster.quota["vmferry", CLAIM] = 1
    with pytest.raises(StepError, match="exceeded quota") as caught:
        prepare(world)
    assert caught.value.code is Exit.NO_SPACE


def test_a_deleted_request_is_reported() -> None:
    world = World()
    with pytest.raises(StepError, match="whether the import was deleted") as caught:
        prepare(world)
    assert caught.value.code is Exit.NOT_FOUND
    assert world.cluster.writes() == []


def test_leftovers_of_a_deleted_request_are_retryable(world: World) -> None:
    prepare(world)
    claim(world)["metadata"]["ownerReferences"][0]["uid"] = "former"
    with pytest.raises(StepError, match="left from a deleted request") as caught:
        prepare(world)
    assert caught.value.code is Exit.BUSY


def test_a_claim_of_others_is_not_used(world: World) -> None:
    prepare(world)
    claim(world)["metadata"]["ownerReferences"] = []
    with pytest.raises(StepError, match="does not belong to this import") as caught:
        prepare(world)
    assert caught.value.code is Exit.CONFLICT


def test_release_deletes_only_claims_and_services_of_this_run(world: World) -> None:
    prepare(world)
    world.cluster.put({**claim(world), "metadata": {"name": "other", "namespace": "vmferry", "labels": {}}})
    assert run(world).delete_all() == []
    assert [one["metadata"]["name"] for one in world.cluster.all(CLAIM, "vmferry")] == ["other"]
    assert world.cluster.all(SERVICE, "vmferry") == []
    assert len(world.cluster.all(CONFIG_MAP, "vmferry")) == 2


def a_pod(world: World, name: str, phase: str, **labels: str) -> None:
    own = {names.LABEL_RUN: world.plan.run, **labels}
    metadata = {"name": name, "namespace": "vmferry", "labels": own}
    world.cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"phase": phase}})


def test_release_deletes_finished_pods_that_use_a_claim(world: World) -> None:
    scratch = {names.LABEL_SCRATCH: "true"}
    a_pod(world, "export", "Succeeded", **scratch)
    a_pod(world, "convert", "Failed", **scratch)
    a_pod(world, "serve", "Running", **scratch)
    a_pod(world, "delete-scratch", "Running")
    assert run(world).delete_all() == []
    assert [one["metadata"]["name"] for one in world.cluster.all(POD, "vmferry")] == [
        "delete-scratch",
        "serve",
    ]


def test_release_reports_what_it_could_not_delete(world: World) -> None:
    prepare(world)
    world.cluster.denied.add(("delete", CLAIM))
    (left,) = run(world).delete_all()
    assert "right to delete on persistentvolumeclaims" in left
    assert world.cluster.all(SERVICE, "vmferry") == []
