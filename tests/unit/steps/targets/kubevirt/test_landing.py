"""Disks land on claims of `admit`, and `hand-over` gives their volumes to the namespace of the import."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from steps.model import names
from steps.model.admission import Verdict
from steps.model.contract import Exit, StepError
from steps.model.kinds import (
    CLAIM,
    CONFIG_MAP,
    DATA_VOLUME,
    EVENT,
    IMPORT,
    MACHINE,
    PERSISTENT_VOLUME,
    POD,
    Object,
)
from steps.model.patching import DEFAULT_PATHS
from steps.model.plan import DiskRule, GuestPlan, ScratchPlan
from steps.model.vm_settings import VmSettings
from steps.targets.cluster import markers
from steps.targets.cluster.halting import halt
from steps.targets.kubevirt import kinds_of
from steps.targets.landing.claims import BIND_SECONDS as ADMIT_SECONDS
from steps.targets.landing.handover import BIND_SECONDS
from tests.unit.steps.targets.harvester.stand_ins import a_class
from tests.unit.steps.targets.kubevirt.landing_world import RELEASE, TENANT, LandingWorld
from tests.unit.steps.targets.surroundings import a_node


def failure(call: Callable[[], object]) -> StepError:
    with pytest.raises(StepError) as caught:
        call()
    return caught.value


def notes_of(thing: Object) -> dict[str, str]:
    return thing["metadata"].get("annotations") or {}


# --- where disks land


@pytest.mark.parametrize(("mode", "size"), [("Block", 1 << 30), ("Filesystem", 1090 << 20)])
def test_a_claim_has_the_final_class_modes_and_size(mode: str, size: int) -> None:
    world = LandingWorld(cdi=True, mode=mode)
    world.admit()
    spec = world.landing_claim()["spec"]
    assert (spec["storageClassName"], spec["volumeMode"], spec["accessModes"]) == (
        "ceph",
        mode,
        ["ReadWriteMany"],
    )
    assert int(spec["resources"]["requests"]["storage"]) == size
    (place,) = world.places
    fields = ("volumeDevices", "devicePath") if mode == "Block" else ("volumeMounts", "mountPath")
    assert (place.mounts, place.path) == fields
    assert (place.disk, place.claim) == ("disk-0", f"{world.plan.run}-disk-0")


def test_a_cluster_without_cdi_takes_landed_disks() -> None:
    world = LandingWorld()
    world.carry_out()
    assert world.vm()["spec"]["runStrategy"] == "RerunOnFailure"
    assert {call.verb for call in world.cluster.calls if call.kind == DATA_VOLUME} <= {"get"}


def test_the_notes_are_small() -> None:
    world = LandingWorld()
    world.machine = world.machine.model_copy(
        update={"disks": (world.machine.disks[0].model_copy(update={"capacity": 1 << 40}),)}
    )
    world.admit()
    claim = world.claim(names.notes(world.plan.run, "disk-0"), RELEASE)
    assert int(claim["spec"]["resources"]["requests"]["storage"]) < 256 << 20


def test_the_notes_use_the_class_for_scratch() -> None:
    world = LandingWorld()
    world.cluster.put(a_class("local", "rancher.io/local-path"))
    scratch = ScratchPlan(storage_class="local")
    world.plan = world.plan.model_copy(update={"scratch": scratch})
    world.admit()
    notes = world.claim(names.notes(world.plan.run, "disk-0"), RELEASE)
    assert notes["spec"]["storageClassName"] == "local"
    assert world.landing_claim()["spec"]["storageClassName"] == "ceph"


def test_nothing_is_created_if_the_target_refuses_the_vm() -> None:
    world = LandingWorld()
    world.cluster.quota[TENANT, MACHINE] = 0
    assert failure(world.admit).code is Exit.NO_SPACE
    assert world.claims(RELEASE) == []


def test_a_quota_of_the_namespace_that_the_disk_exceeds_is_known_before_power_off() -> None:
    world = LandingWorld()
    world.cluster.quota[TENANT, CLAIM] = 0
    error = failure(world.admit)
    assert error.code is Exit.NO_SPACE
    assert "exceeded quota" in str(error)
    assert world.claims(RELEASE) == []


def test_without_the_right_on_volumes_the_setting_is_named_before_power_off() -> None:
    world = LandingWorld()
    world.cluster.denied.add(("get", PERSISTENT_VOLUME))
    error = failure(world.admit)
    assert error.code is Exit.DENIED
    assert "kubevirt.disks" in str(error)


def test_admission_says_that_the_modes_were_guessed() -> None:
    assert Verdict.WARNED in {one.verdict for one in LandingWorld().admit().findings}


# --- claims that are not bound


def test_a_claim_that_stays_pending_is_reported_with_the_words_of_its_provisioner() -> None:
    world = LandingWorld()
    world.volumes.provides = False
    world.cluster.put(
        {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"name": "one", "namespace": RELEASE},
            "involvedObject": {"kind": "PersistentVolumeClaim", "name": f"{world.plan.run}-disk-0"},
            "type": "Warning",
            "reason": "ProvisioningFailed",
            "message": "block volume provisioning is not supported",
        }
    )
    error = failure(world.admit)
    assert error.code is Exit.UNREACHABLE
    assert "block volume provisioning is not supported" in str(error)
    assert world.time.now >= ADMIT_SECONDS
    world.volumes.provides = True
    world.carry_out()


def test_reasons_that_may_not_be_read_do_not_hide_the_failure() -> None:
    world = LandingWorld()
    world.volumes.provides = False
    world.cluster.denied.add(("list", EVENT))
    assert "is not bound after 5 minutes" in str(failure(world.admit))


def test_claims_that_wait_for_a_pod_are_placed_by_one_pod_with_room_for_the_vm() -> None:
    world = LandingWorld(disks=2, waits=True, memory_mib=4096)
    seen: list[Object] = []
    world.cluster.reconcilers.append(lambda _: seen.extend(world.pods()))
    world.admit()
    made = seen[0]
    mounted = {one["persistentVolumeClaim"]["claimName"] for one in made["spec"]["volumes"]}
    assert mounted == {one["metadata"]["name"] for one in world.claims(RELEASE)}
    (container,) = made["spec"]["containers"]
    assert container["resources"]["requests"]["memory"] == "4096Mi"
    assert container["image"] == "vmferry/target:1"
    assert made["spec"]["automountServiceAccountToken"] is False
    assert world.pods() == []


def placement_spec(own: Object, **settings: Any) -> Object:
    """The spec of the placement pod of a VM with settings; `own` are fields of the pod of `admit`."""
    world = LandingWorld(waits=True, settings=VmSettings(**settings))
    world.cluster.put(a_node(labels={"disk": "ssd", "zone": "b"}))
    (admit,) = world.cluster.all(POD)
    admit["spec"].update(own)
    world.cluster.put(admit)
    seen: list[Object] = []
    world.cluster.reconcilers.append(lambda _: seen.extend(world.pods()))
    world.admit()
    spec: Object = seen[0]["spec"]
    return spec


NODE_AFFINITY: Final = {
    "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]
    }
}
STEPS: Final[Mapping[str, Any]] = {
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "busy", "operator": "Exists"}],
}
DEDICATED: Final = {"key": "dedicated", "operator": "Exists"}


def test_the_disks_are_placed_where_the_vm_and_the_steps_may_run() -> None:
    spec = placement_spec(
        dict(STEPS),
        node_selector={"disk": "ssd"},
        affinity={"nodeAffinity": NODE_AFFINITY, "podAffinity": {"elsewhere": []}},
        tolerations=(DEDICATED, STEPS["tolerations"][0]),
    )
    assert spec["nodeSelector"] == {"kubernetes.io/arch": "amd64", "disk": "ssd"}
    assert spec["affinity"] == {"nodeAffinity": NODE_AFFINITY}
    assert spec["tolerations"] == [*STEPS["tolerations"], DEDICATED]


def test_a_vm_that_names_no_node_is_placed_where_the_steps_may_run() -> None:
    """The steps could not write to a volume on a node whose taint only the VM tolerates."""
    spec = placement_spec(dict(STEPS), tolerations=(DEDICATED,))
    assert {name: spec[name] for name in STEPS} == dict(STEPS)
    assert "affinity" not in spec


def test_a_patch_of_the_vm_counts_for_the_placement() -> None:
    patch = {"spec": {"template": {"spec": {"nodeSelector": {"disk": None, "zone": "b"}}}}}
    spec = placement_spec({}, node_selector={"disk": "ssd"}, patch=patch, patch_paths=DEFAULT_PATHS)
    assert spec["nodeSelector"] == {"zone": "b"}


def test_a_vm_that_stays_off_needs_no_room_on_a_node() -> None:
    world = LandingWorld(waits=True, start=False, memory_mib=4096)
    seen: list[Object] = []
    world.cluster.reconcilers.append(lambda _: seen.extend(world.pods()))
    world.admit()
    (container,) = seen[0]["spec"]["containers"]
    assert container["resources"]["requests"]["memory"] == "64Mi"


def test_claims_that_are_bound_at_once_need_no_pod() -> None:
    world = LandingWorld(disks=2)
    world.admit()
    assert not any(call.verb == "create" and call.kind == POD for call in world.cluster.calls)


def test_a_full_node_is_reported_with_the_words_of_the_scheduler() -> None:
    world = LandingWorld(waits=True)
    world.volumes.provides = False

    def unschedulable(_cluster: object) -> None:
        for pod in world.pods():
            why = "0/3 nodes: Insufficient memory"
            condition = {"type": "PodScheduled", "status": "False", "message": why}
            pod["status"] = {"conditions": [condition]}

    world.cluster.reconcilers.append(unschedulable)
    assert "0/3 nodes: Insufficient memory" in str(failure(world.admit))


# --- another attempt


def test_an_edited_access_mode_makes_the_claim_again() -> None:
    """The final claim could not be bound to a volume without that mode."""
    world = LandingWorld(cdi=True)
    world.admit()
    first = world.landing_claim()["metadata"]["uid"]
    world.admit()
    assert world.landing_claim()["metadata"]["uid"] == first
    row = DiskRule(disk="disk-0", access_mode="ReadWriteOnce")
    target = world.plan.target.model_copy(update={"disks": (row,)})
    world.plan = world.plan.model_copy(update={"target": target})
    world.admit()
    claim = world.landing_claim()
    assert claim["metadata"]["uid"] != first
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_an_edited_class_makes_the_claim_and_its_notes_again() -> None:
    world = LandingWorld()
    world.admit()
    world.export()
    before = {one["metadata"]["uid"] for one in world.claims(RELEASE)}
    world.cluster.put(a_class("fast", "rbd.csi.ceph.com"))
    target = world.plan.target.model_copy(update={"storage_class": "fast"})
    world.plan = world.plan.model_copy(update={"target": target})
    world.admit()
    assert world.landing_claim()["spec"]["storageClassName"] == "fast"
    assert before.isdisjoint(one["metadata"]["uid"] for one in world.claims(RELEASE))


def test_notes_about_a_volume_that_is_gone_are_deleted() -> None:
    """Otherwise they would say that the new, empty volume holds the disk."""
    world = LandingWorld()
    world.admit()
    notes = world.claim(names.notes(world.plan.run, "disk-0"), RELEASE)["metadata"]["uid"]
    world.cluster.drop(CLAIM, names.claim(world.plan.run, "disk-0"), RELEASE)
    world.admit()
    assert world.claim(names.notes(world.plan.run, "disk-0"), RELEASE)["metadata"]["uid"] != notes


def test_a_disk_that_was_handed_over_is_not_copied_again() -> None:
    world = LandingWorld(disks=2)
    for step in (world.admit, world.export, world.hand_over):
        step()
    claim = world.claim()["metadata"]["uid"]
    world.admit()
    assert [place.landed for place in world.places] == ["true", "false"]
    assert world.claim()["metadata"]["uid"] == claim
    world.carry_out()


def test_a_grown_disk_enlarges_its_claim() -> None:
    world = LandingWorld(cdi=True)
    world.admit()
    larger = world.machine.disks[0].model_copy(update={"capacity": 2 << 30})
    world.machine = world.machine.model_copy(update={"disks": (larger,)})
    world.admit()
    assert world.landing_claim()["spec"]["resources"]["requests"]["storage"] == str(2 << 30)


# --- hand-over


def handed_over() -> LandingWorld:
    world = LandingWorld()
    for step in (world.admit, world.export, world.hand_over):
        step()
    return world


def test_the_volume_moves_and_is_never_released() -> None:
    world = LandingWorld()
    world.admit()
    world.export()
    volume = world.landing_claim()["spec"]["volumeName"]
    assert world.hand_over() == "web01-disk-0"
    claim = world.claim()
    assert claim["spec"]["volumeName"] == volume
    assert world.volumes.content[volume] == "disk-0"
    assert markers.UNFINISHED not in notes_of(claim)
    assert [one["kind"] for one in claim["metadata"]["ownerReferences"]] == ["VirtualMachineImport"]
    assert world.cluster.peek(CLAIM, names.claim(world.plan.run, "disk-0"), RELEASE) is None
    world.volumes.reconcile()
    assert world.volumes.reclaimed == []


def test_in_one_namespace_the_claim_has_its_final_name_from_the_start() -> None:
    world = LandingWorld(release=TENANT)
    world.admit()
    before = world.claim()
    assert markers.UNFINISHED in notes_of(before)
    assert [one["kind"] for one in before["metadata"]["ownerReferences"]] == ["ConfigMap"]
    world.export()
    writes = len(world.cluster.writes())
    world.hand_over()
    assert len(world.cluster.writes()) == writes + 1
    after = world.claim()
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert markers.UNFINISHED not in notes_of(after)
    assert [one["kind"] for one in after["metadata"]["ownerReferences"]] == ["VirtualMachineImport"]


def test_a_quota_that_became_too_small_keeps_the_disk_for_a_retry() -> None:
    world = LandingWorld()
    world.admit()
    world.export()
    world.cluster.quota[TENANT, CLAIM] = 0
    assert failure(world.hand_over).code is Exit.NO_SPACE
    assert world.landing_claim()["status"]["phase"] == "Bound"
    del world.cluster.quota[TENANT, CLAIM]
    world.hand_over()
    assert world.volumes.content[world.claim()["spec"]["volumeName"]] == "disk-0"


def test_a_claim_of_others_is_not_touched() -> None:
    world = LandingWorld()
    world.admit()
    world.export()
    foreign = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "web01-disk-0", "namespace": TENANT},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    world.cluster.put(foreign)
    assert failure(world.hand_over).code is Exit.CONFLICT
    assert world.landing_claim()["status"]["phase"] == "Bound"


def test_a_claim_that_somebody_prepared_for_another_volume_gets_nothing() -> None:
    """A tenant may create a claim with every label of the run, and name a volume of others in it."""
    world = LandingWorld()
    world.admit()
    world.export()
    victim = world.cluster.put(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "pv-of-others"},
            "spec": {"claimRef": {"namespace": RELEASE, "name": "x", "uid": "uid-x"}},
        }
    )
    world.cluster.put(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "x", "namespace": RELEASE, "uid": "uid-x"},
            "spec": {"volumeName": "pv-of-others"},
        }
    )
    world.cluster.put(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": "web01-disk-0",
                "namespace": TENANT,
                "labels": names.volume_labels(world.plan, "disk-0"),
            },
            "spec": {"volumeName": "pv-of-others"},
        }
    )
    assert failure(world.hand_over).code is Exit.CONFLICT
    current = world.cluster.peek(PERSISTENT_VOLUME, "pv-of-others")
    assert current is not None
    assert current["spec"]["claimRef"] == victim["spec"]["claimRef"]
    assert world.landing_claim()["status"]["phase"] == "Bound"


def test_a_volume_that_is_gone_is_said_so() -> None:
    world = LandingWorld()
    world.admit()
    world.export()
    world.cluster.drop(PERSISTENT_VOLUME, world.landing_claim()["spec"]["volumeName"])
    error = failure(world.hand_over)
    assert error.code is Exit.INVALID
    assert "is gone" in str(error)
    assert world.claims() == []


def test_a_claim_that_kubernetes_does_not_bind_fails_in_time_and_is_resumed() -> None:
    world = LandingWorld()
    world.admit()
    world.export()
    world.volumes.moves = False
    error = failure(world.hand_over)
    assert error.code is Exit.UNREACHABLE
    assert world.time.now >= BIND_SECONDS
    world.volumes.moves = True
    world.hand_over()
    assert world.volumes.content[world.claim()["spec"]["volumeName"]] == "disk-0"


# --- build and after


def test_the_vm_is_made_before_its_disks_and_cannot_run_without_them() -> None:
    world = LandingWorld(disks=2)
    world.admit()
    world.build()
    attached = world.vm()["spec"]["template"]["spec"]["volumes"]
    assert [one["persistentVolumeClaim"]["claimName"] for one in attached] == ["web01-disk-0", "web01-disk-1"]
    assert world.claims() == []  # a VM that somebody starts waits for them
    world.export(0)
    world.hand_over(0)
    error = failure(world.start)
    assert error.code is Exit.INVALID
    assert "web01-disk-1 does not exist" in str(error)
    assert world.kubevirt.starts == []
    world.export(1)
    world.hand_over(1)
    world.start()
    assert world.kubevirt.starts == ["web01"]


def test_in_one_namespace_there_is_no_vm_over_a_disk_that_lands() -> None:
    """Its claim exists already, so anybody could start the VM over half a disk."""
    world = LandingWorld(disks=2, release=TENANT)
    world.admit()
    (line,) = world.build()
    assert "is created after its disks have landed" in line
    for number in (0, 1):
        world.export(number)
        world.build()
        assert world.cluster.all(MACHINE, TENANT) == []
        world.hand_over(number)
    world.start()
    assert world.kubevirt.starts == ["web01"]


def test_a_vm_that_was_deleted_while_its_disks_landed_is_made_again() -> None:
    world = handed_over()
    world.build()
    world.cluster.drop(MACHINE, "web01", TENANT)
    world.start()
    assert world.kubevirt.starts == ["web01"]


def test_a_vm_of_others_with_the_name_is_not_touched() -> None:
    world = handed_over()
    foreign = {
        "apiVersion": MACHINE.api_version,
        "kind": MACHINE.kind,
        "metadata": {"name": "web01", "namespace": TENANT},
        "spec": {"runStrategy": "Halted", "template": {"spec": {}}},
    }
    world.cluster.put(foreign)
    for step in (world.build, world.start, world.leave_off):
        assert failure(step).code is Exit.CONFLICT
    assert world.vm()["spec"] == foreign["spec"]


@pytest.mark.parametrize("release", [RELEASE, TENANT])
def test_a_volume_that_is_not_finished_is_never_started(release: str) -> None:
    world = LandingWorld(release=release)
    world.admit()
    world.export()
    world.build()
    for step in (world.start, world.leave_off):
        assert failure(step).code is Exit.INVALID
    assert [one["spec"]["runStrategy"] for one in world.cluster.all(MACHINE, TENANT)] in ([], ["Halted"])


def test_a_claim_that_was_bound_but_not_marked_is_not_started() -> None:
    world = handed_over()
    world.build()
    world.claim()["metadata"]["annotations"][markers.UNFINISHED] = "x"
    assert failure(world.start).code is Exit.CONFLICT


def test_a_claim_that_lost_its_volume_is_not_started() -> None:
    world = handed_over()
    world.build()
    world.volumes.moves = False
    world.claim()["status"]["phase"] = "Lost"
    assert failure(world.start).code is Exit.BUSY


def test_a_disk_that_was_swapped_after_build_is_not_started() -> None:
    world = handed_over()
    world.build()
    world.claim()["metadata"]["annotations"].pop(markers.PUBLISHED)
    assert failure(world.start).code is Exit.CONFLICT
    assert world.vm()["spec"]["runStrategy"] == "Halted"


def test_the_vm_owns_its_disks_after_a_success() -> None:
    world = LandingWorld()
    world.carry_out()
    assert [one["kind"] for one in world.claim()["metadata"]["ownerReferences"]] == ["VirtualMachine"]
    world.cluster.drop(MACHINE, "web01", TENANT)
    assert world.claims() == []


@pytest.mark.parametrize("handed", [False, True])
@pytest.mark.parametrize("release", [RELEASE, TENANT])
def test_nothing_is_left_after_the_import_and_its_request_are_deleted(release: str, handed: bool) -> None:
    world = LandingWorld(disks=2, release=release)
    world.admit()
    world.export()
    if handed:
        world.hand_over()
    world.cluster.drop(IMPORT, world.plan.import_.name, TENANT)
    world.cluster.drop(CONFIG_MAP, names.request(world.plan.run), world.release)
    world.volumes.reconcile()
    assert (world.claims(), world.claims(release), world.volumes.volumes()) == ([], [], [])


def test_an_undo_marks_the_landed_claims_as_stale() -> None:
    world = LandingWorld()
    world.carry_out()
    remaining = halt(world.plan, world.cluster, world.time, kinds_of(world.plan), clock=world.time.clock)
    assert remaining == ["VirtualMachine default/web01", "PersistentVolumeClaim default/web01-disk-0"]
    assert markers.STALE in notes_of(world.claim())


def test_after_an_inspection_the_vm_is_built_over_volumes_that_are_there() -> None:
    """What is found decides its buses, so `build` comes after the hand-over."""
    world = LandingWorld(disks=2)
    world.plan = world.plan.model_copy(update={"guest": GuestPlan(inspect=True)})
    create = world.cluster.create

    def scheduled(manifest: Object, *, dry_run: bool = False) -> Object:
        node = {"nodeName": "node-1"} if manifest["kind"] == "Pod" else {}
        return create({**manifest, "spec": {**manifest.get("spec", {}), **node}}, dry_run=dry_run)

    world.cluster.create = scheduled  # type: ignore[method-assign]
    world.admit()
    for number in range(2):
        world.export(number)
    for number in range(2):
        world.hand_over(number)
    world.build()
    world.start()
    world.delete_scratch()
    vm = world.vm()
    owners = [owner["uid"] for one in world.claims() for owner in one["metadata"]["ownerReferences"]]
    assert owners == [vm["metadata"]["uid"]] * 2
    assert world.claims(RELEASE) == []
