"""Disks of a VM on Harvester that land on plain volumes, next to disks that become images."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from steps.model import names
from steps.model.admission import Verdict
from steps.model.contract import Exit, StepError
from steps.model.kinds import (
    CLAIM,
    CONFIG_MAP,
    DATA_VOLUME,
    IMAGE,
    IMPORT,
    PERSISTENT_VOLUME,
    SERVICE,
    Object,
)
from steps.model.plan import DiskForm, DiskRule, DiskWay, ImportLimits
from steps.targets.cluster import markers
from steps.targets.cluster.discard import discard
from steps.targets.cluster.halting import halt
from steps.targets.harvester import KINDS
from steps.targets.harvester.plain_volumes import LVM, plain_storage
from tests.unit.steps.targets.harvester.harvester_rules import RESERVED
from tests.unit.steps.targets.harvester.mixed_world import RELEASE, TENANT, MixedWorld
from tests.unit.steps.targets.harvester.stand_ins import a_class
from tests.unit.steps.targets.kubevirt.world import a_profile

GIB = 1 << 30


def failure(call: Callable[[], object]) -> StepError:
    with pytest.raises(StepError) as caught:
        call()
    return caught.value


def owners(thing: Object) -> list[str]:
    return [one["kind"] for one in thing["metadata"].get("ownerReferences") or []]


def notes_of(thing: Object) -> dict[str, str]:
    return thing["metadata"].get("annotations") or {}


# --- a whole import


@pytest.mark.parametrize("plain", [(1,), (0,), (0, 1)])
@pytest.mark.parametrize("release", [RELEASE, TENANT])
def test_each_disk_goes_its_way(release: str, plain: tuple[int, ...]) -> None:
    world = MixedWorld(release=release, plain=plain)
    world.carry_out()
    assert world.vm()["spec"]["runStrategy"] != "Halted"
    attached = world.attached()
    assert list(attached) == ["disk-0", "disk-1"]
    for disk, claim in attached.items():
        assert claim["metadata"]["name"] == f"web01-{disk}"
        number = int(disk[-1])
        volume = claim["spec"]["volumeName"]
        landed = world.volume_controller.content.get(volume)
        assert landed == (disk if number in plain else None)
        assert ("harvesterhci.io/imageId" in notes_of(claim)) is (number not in plain)
    assert len(world.images()) == 2 - len(plain)


@pytest.mark.parametrize("release", [RELEASE, TENANT])
def test_nothing_owns_the_disks_after_a_success(release: str) -> None:
    world = MixedWorld(release=release)
    world.carry_out()
    assert [owners(one) for one in (*world.attached().values(), *world.images(), world.vm())] == [[]] * 4
    world.cluster.drop(IMPORT, "web", TENANT)
    world.cluster.drop(CONFIG_MAP, names.request(world.plan.run), world.release)
    assert len(world.attached()) == 2


def test_nothing_is_left_in_the_release_namespace() -> None:
    world = MixedWorld()
    world.carry_out()
    world.volume_controller.reconcile()
    assert world.cluster.all(CLAIM, RELEASE) == []
    assert world.cluster.all(SERVICE, RELEASE) == []


def test_a_vm_that_stays_off_is_released_too() -> None:
    world = MixedWorld(start=False)
    world.carry_out()
    assert world.vm()["spec"]["runStrategy"] == "Halted"
    assert [owners(one) for one in world.attached().values()] == [[], []]


# --- where disks land


def test_only_a_disk_that_becomes_an_image_has_scratch_and_a_service() -> None:
    world = MixedWorld()
    world.admit()
    run = world.plan.run
    assert {one["metadata"]["name"] for one in world.cluster.all(CLAIM, RELEASE)} == {
        f"{run}-disk-0",
        f"{run}-disk-1",
        f"{run}-disk-1-notes",
    }
    assert [one["metadata"]["name"] for one in world.cluster.all(SERVICE, RELEASE)] == [f"{run}-disk-0"]
    assert markers.UNFINISHED in notes_of(world.landing_claim("disk-1"))
    assert markers.UNFINISHED not in notes_of(world.landing_claim("disk-0"))


def test_a_row_of_admit_says_what_a_pod_mounts() -> None:
    world = MixedWorld()
    world.admit()
    run = world.plan.run
    served, landed = world.places["disk-0"], world.places["disk-1"]
    assert (served.way, served.volume, served.claim, served.scratch) == (
        DiskWay.PULL,
        "scratch",
        f"{run}-disk-0",
        f"{run}-disk-0",
    )
    assert (landed.way, landed.volume, landed.claim, landed.scratch) == (
        DiskWay.LAND,
        "disk",
        f"{run}-disk-1",
        f"{run}-disk-1-notes",
    )
    assert (landed.mounts, landed.path) == ("volumeDevices", "devicePath")


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (a_class("sc", parameters={"migratable": "true"}), ("ReadWriteMany", "Block", False)),
        (a_class("sc"), ("ReadWriteOnce", "Block", False)),
        (a_class("sc", LVM), ("ReadWriteOnce", "Block", False)),
        (a_class("sc", "nfs.csi.k8s.io"), ("ReadWriteOnce", "Filesystem", True)),
    ],
    ids=["longhorn", "longhorn, not migratable", "lvm", "unknown"],
)
def test_without_a_storage_profile_the_modes_are_those_of_harvesters_own_page(
    made: Object, expected: tuple[str, str, bool]
) -> None:
    world = MixedWorld(storage_class="sc")
    world.cluster.put(made)
    storage = plain_storage(world.cluster, world.plan, world.machine.disks[1])
    assert (storage.access_mode, storage.volume_mode, storage.guessed) == expected


def test_a_storage_profile_decides_on_the_modes() -> None:
    world = MixedWorld()
    world.cluster.put(a_profile("harvester-longhorn", "ReadWriteOnce", "Filesystem"))
    world.admit()
    spec = world.landing_claim()["spec"]
    assert (spec["accessModes"], spec["volumeMode"]) == (["ReadWriteOnce"], "Filesystem")
    assert int(spec["resources"]["requests"]["storage"]) > GIB


def test_a_row_decides_on_the_modes_before_the_storage_profile() -> None:
    world = MixedWorld()
    profile = a_profile("harvester-longhorn", "ReadWriteMany", "Block")
    second = {"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem"}
    profile["status"]["claimPropertySets"].append(second)
    world.cluster.put(profile)
    row = DiskRule(disk="disk-1", form=DiskForm.VOLUME, access_mode="ReadWriteOnce", volume_mode="Filesystem")
    target = world.plan.target.model_copy(update={"disks": (row,)})
    world.plan = world.plan.model_copy(update={"target": target})
    world.admit()
    spec = world.landing_claim()["spec"]
    assert (spec["accessModes"], spec["volumeMode"]) == (["ReadWriteOnce"], "Filesystem")


def test_the_class_of_the_row_is_that_of_the_volume() -> None:
    world = MixedWorld()
    world.cluster.put(a_class("lvm", LVM))
    row = DiskRule(disk="disk-1", form=DiskForm.VOLUME, storage_class="lvm")
    target = world.plan.target.model_copy(update={"disks": (row,)})
    world.plan = world.plan.model_copy(update={"target": target})
    world.carry_out()
    assert world.attached()["disk-1"]["spec"]["storageClassName"] == "lvm"
    assert world.attached()["disk-0"]["spec"]["storageClassName"].startswith("lh-")


# --- what is refused before the VM is shut down


def test_without_the_right_on_volumes_the_value_is_named() -> None:
    world = MixedWorld()
    world.cluster.denied.add(("get", PERSISTENT_VOLUME))
    error = failure(world.admit)
    assert error.code is Exit.DENIED
    assert "harvester.allowVolumes=true" in str(error)


def test_a_vm_without_plain_volumes_needs_no_right_on_volumes() -> None:
    world = MixedWorld(plain=())
    world.cluster.denied.add(("get", PERSISTENT_VOLUME))
    world.admit()


def test_the_class_of_an_image_is_refused() -> None:
    """Its volumes begin with the content of the image, and gaps of the disk would show it."""
    world = MixedWorld(storage_class="lh-other")
    world.cluster.put(a_class("lh-other", parameters={"backingImage": "vmi-1", "dataEngine": "v1"}))
    error = failure(world.admit)
    assert error.code is Exit.INVALID
    assert "image vmi-1" in str(error)
    assert world.cluster.all(CLAIM, RELEASE) == []


@pytest.mark.parametrize("name", RESERVED)
def test_a_class_that_harvester_reserves_is_refused_in_its_words(name: str) -> None:
    world = MixedWorld(plain=(0, 1), storage_class=name)
    world.cluster.put(a_class(name))
    error = failure(world.admit)
    assert error.code is Exit.INVALID
    assert f"can not create volume with the reserved storage class {name}" in str(error)
    assert world.cluster.all(CLAIM, RELEASE) == []


def test_a_class_that_does_not_exist_is_refused() -> None:
    error = failure(MixedWorld(storage_class="gone").admit)
    assert error.code is Exit.NOT_FOUND
    assert "gone" in str(error)


def test_the_claims_of_both_kinds_are_counted_for_the_quota() -> None:
    world = MixedWorld(disks=3, plain=(1, 2))
    world.cluster.put(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "small", "namespace": TENANT},
            "spec": {"hard": {"requests.storage": "2Gi"}},
            "status": {"used": {"requests.storage": "0"}},
        }
    )
    error = failure(world.admit)
    assert error.code is Exit.NO_SPACE
    assert "needs 3Gi" in str(error)
    assert world.cluster.all(CLAIM, RELEASE) == []


def test_a_name_that_a_foreign_volume_has_is_not_used() -> None:
    world = MixedWorld()
    metadata = {"name": "web01-disk-1", "namespace": TENANT}
    spec = {"resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"]}
    world.cluster.put(
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
    )
    world.carry_out()
    name = world.attached()["disk-1"]["metadata"]["name"]
    assert name != "web01-disk-1"
    assert name.startswith("web01-disk-1-")


def test_all_claims_together_must_fit_into_the_limit_on_scratch() -> None:
    world = MixedWorld()
    world.admit()
    sizes = [
        int(one["spec"]["resources"]["requests"]["storage"]) for one in world.cluster.all(CLAIM, RELEASE)
    ]
    for limit, fits in ((sum(sizes), True), (sum(sizes) - 1, False)):
        other = MixedWorld()
        limits = ImportLimits(max_scratch_per_namespace=limit)
        other.plan = other.plan.model_copy(update={"limits": limits})
        if fits:
            other.admit()
        else:
            assert failure(other.admit).code is Exit.NO_SPACE
            assert other.cluster.all(CLAIM, RELEASE) == []


def test_guessed_modes_are_a_warning() -> None:
    world = MixedWorld(storage_class="nfs")
    world.cluster.put(a_class("nfs", "nfs.csi.k8s.io"))
    findings = world.admit().findings
    assert Verdict.WARNED in {one.verdict for one in findings}


# --- failures, retries, ends


def test_in_one_namespace_scratch_is_not_taken_for_the_volume_of_a_disk() -> None:
    world = MixedWorld(release=TENANT)
    world.admit()
    world.workflow = f"{world.plan.run}-r1"
    world.admit()
    assert world.volumes().names == {"disk-0": "web01-disk-0", "disk-1": "web01-disk-1"}
    world.carry_out()


def test_a_failed_hand_over_is_repeated_alone() -> None:
    world = MixedWorld()
    for step in (world.admit, lambda: world.export("disk-0"), lambda: world.export("disk-1")):
        step()
    world.cluster.quota[TENANT, CLAIM] = 0
    assert failure(lambda: world.give("disk-1")).code is Exit.NO_SPACE
    del world.cluster.quota[TENANT, CLAIM]
    world.give("disk-1")
    world.give("disk-0")
    world.build()
    world.start()
    assert len(world.images()) == 1


def test_a_new_workflow_copies_only_what_is_missing() -> None:
    world = MixedWorld()
    world.admit()
    world.export("disk-1")
    world.give("disk-1")
    uid = world.claim()["metadata"]["uid"]
    world.workflow = f"{world.plan.run}-r1"
    world.admit()
    assert (world.places["disk-0"].landed, world.places["disk-1"].landed) == ("false", "true")
    world.carry_out()
    assert world.claim()["metadata"]["uid"] == uid


def test_a_volume_that_is_not_finished_is_never_attached() -> None:
    world = MixedWorld()
    for step in (world.admit, lambda: world.export("disk-0"), lambda: world.export("disk-1")):
        step()
    world.give("disk-0")
    world.build()
    error = failure(world.start)
    assert error.code is Exit.INVALID
    assert "disk-1" in str(error)
    assert world.vm()["spec"]["runStrategy"] == "Halted"


def test_scratch_is_never_handed_over() -> None:
    world = MixedWorld()
    world.admit()
    error = failure(lambda: world.hand_over("disk-0"))
    assert error.code is Exit.CONFLICT
    assert "did not land" in str(error)
    assert world.landing_claim("disk-0")["status"]["phase"] == "Bound"


def with_rows(world: MixedWorld, *numbers: int) -> None:
    """As after a change at the source, so that the rows fit other disks."""
    rows = tuple(DiskRule(disk=f"disk-{number}", form=DiskForm.VOLUME) for number in numbers)
    target = world.plan.target.model_copy(update={"disks": rows})
    world.plan = world.plan.model_copy(update={"target": target})


def test_a_disk_never_lands_on_scratch_of_an_earlier_attempt() -> None:
    world = MixedWorld()
    world.cluster.put(a_profile("harvester-longhorn", "ReadWriteOnce", "Filesystem"))
    world.admit()
    scratch = world.landing_claim("disk-0")["metadata"]["uid"]
    with_rows(world, 0, 1)
    world.admit()
    claim = world.landing_claim("disk-0")
    assert claim["metadata"]["uid"] != scratch
    assert markers.UNFINISHED in notes_of(claim)


def test_a_disk_is_never_served_from_a_volume_of_an_earlier_attempt() -> None:
    world = MixedWorld()
    world.admit()
    with_rows(world)
    world.admit()
    claim = world.landing_claim("disk-1")
    assert markers.UNFINISHED not in notes_of(claim)
    assert claim["spec"]["volumeMode"] == "Filesystem"


def test_a_disk_that_was_swapped_after_build_is_not_started() -> None:
    world = MixedWorld()
    for step in world.steps()[:-2]:
        step()
    world.claim()["metadata"]["annotations"].pop(markers.PUBLISHED)
    assert failure(world.start).code is Exit.CONFLICT
    assert world.vm()["spec"]["runStrategy"] == "Halted"


@pytest.mark.parametrize("handed", [False, True])
@pytest.mark.parametrize("release", [RELEASE, TENANT])
def test_nothing_is_left_after_the_import_and_its_request_are_deleted(release: str, handed: bool) -> None:
    world = MixedWorld(release=release, plain=(0, 1))
    world.admit()
    world.export("disk-0")
    if handed:
        world.give("disk-0")
    world.cluster.drop(IMPORT, "web", TENANT)
    world.cluster.drop(CONFIG_MAP, names.request(world.plan.run), release)
    world.volume_controller.reconcile()
    volumes = world.cluster.all(PERSISTENT_VOLUME)
    assert (world.cluster.all(CLAIM), world.images(), volumes) == ([], [], [])


def test_an_undo_marks_the_plain_volume_as_stale() -> None:
    world = MixedWorld()
    world.carry_out()
    remaining = halt(world.plan, world.cluster, world.time, KINDS, clock=world.time.clock)
    assert "PersistentVolumeClaim default/web01-disk-1" in remaining
    assert markers.STALE in notes_of(world.claim())


def test_a_discard_deletes_the_plain_volume() -> None:
    world = MixedWorld()
    for step in world.steps()[:-2]:
        step()
    deleted = discard(world.plan, world.cluster, world.time, KINDS, clock=world.time.clock)
    assert "PersistentVolumeClaim default/web01-disk-1" in deleted
    assert (world.vms(), world.claims(), world.images()) == ([], [], [])


def test_a_cluster_without_cdi_takes_plain_volumes() -> None:
    world = MixedWorld(plain=(0, 1))
    world.cluster.kinds -= {one for one in world.cluster.kinds if one.group == "cdi.kubevirt.io"}
    world.carry_out()
    assert not any(call.kind == DATA_VOLUME and call.verb != "get" for call in world.cluster.calls)
    assert not any(call.kind == IMAGE and call.verb == "create" for call in world.cluster.calls)


def test_a_claim_that_stays_pending_is_known_before_the_vm_is_shut_down() -> None:
    world = MixedWorld()
    world.volume_controller.provides = False
    error = failure(world.admit)
    assert error.code is Exit.UNREACHABLE
    assert "the VM was not shut down" in str(error)
