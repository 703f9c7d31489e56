"""The steps `build`, `start` and `halt` for KubeVirt: the VM, its volumes and their owners."""

from __future__ import annotations

import pytest

from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, DATA_VOLUME, IMPORT, MACHINE, Object
from steps.model.machine import Firmware
from steps.model.names import LABEL_RUN, LABEL_UID
from steps.targets.cluster import markers
from steps.targets.cluster.discard import discard
from steps.targets.cluster.halting import halt
from steps.targets.cluster.vm_objects import attached_claims
from steps.targets.kubevirt import KINDS
from tests.unit.steps.targets.kubevirt.world import World


def owners(resource: Object) -> list[str]:
    return [owner["kind"] for owner in resource["metadata"].get("ownerReferences") or []]


def test_build_makes_a_stopped_vm_over_the_claims_of_the_data_volumes() -> None:
    world = World(disks=2)
    world.publish_all()
    world.build()
    vm = world.vm()
    assert vm["spec"]["runStrategy"] == "Halted"
    assert attached_claims(vm) == {"disk-0": "web01-disk-0", "disk-1": "web01-disk-1"}
    assert owners(vm) == ["VirtualMachineImport"]


def test_the_vm_has_nothing_of_harvester_and_states_what_the_guest_sees() -> None:
    world = World()
    world.publish_all()
    world.build()
    vm = world.vm()
    domain = vm["spec"]["template"]["spec"]["domain"]
    ours = "migration.harvesterhci.io/"
    assert "harvesterhci.io" not in str(vm).replace(ours, "")
    assert "cattle.io" not in str(vm)
    assert "resources" not in domain
    assert domain["machine"] == {"type": "q35"}
    assert domain["firmware"]["bootloader"] == {"bios": {}}


def test_firmware_secure_boot_and_tpm_are_those_of_the_source() -> None:
    world = World()
    firmware = Firmware(kind="efi", secure_boot=True, tpm=True, tpm_version="2.0")
    world.machine = world.machine.model_copy(update={"firmware": firmware})
    world.publish_all()
    world.build()
    domain = world.vm()["spec"]["template"]["spec"]["domain"]
    assert domain["firmware"]["bootloader"] == {"efi": {"secureBoot": True}}
    assert domain["features"]["smm"] == {"enabled": True}
    assert domain["devices"]["tpm"] == {"persistent": True}


def test_after_a_success_the_vm_owns_its_disks_and_the_import_owns_nothing() -> None:
    world = World(disks=2)
    world.carry_out()
    assert owners(world.vm()) == []
    assert [owners(one) for one in world.data_volumes()] == [["VirtualMachine"]] * 2
    world.cluster.drop(IMPORT, "web", "default")
    assert len(world.claims()) == 2
    world.cluster.drop(MACHINE, "web01", "default")
    assert world.data_volumes() == world.claims() == []


def test_a_vm_that_stays_off_owns_its_disks() -> None:
    world = World(start=False)
    world.carry_out()
    assert world.vm()["spec"]["runStrategy"] == "Halted"
    assert owners(world.data_volumes()[0]) == ["VirtualMachine"]
    assert world.kubevirt.starts == []


def test_an_import_deleted_before_its_end_leaves_nothing() -> None:
    world = World(disks=2)
    world.publish_all()
    world.build()
    world.cluster.drop(IMPORT, "web", "default")
    assert world.vms() == world.data_volumes() == world.claims() == []


def test_each_step_is_idempotent() -> None:
    world = World(disks=2)
    world.carry_out()
    uid = world.vm()["metadata"]["uid"]
    world.carry_out()
    assert world.vm()["metadata"]["uid"] == uid
    assert world.kubevirt.starts == ["web01"]
    assert len(world.data_volumes()) == len(world.claims()) == 2


def test_a_vm_of_others_is_a_conflict_and_stays_unchanged() -> None:
    world = World()
    world.publish_all()
    metadata = {"name": "web01", "namespace": "default"}
    theirs = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": metadata}
    before = world.cluster.put({**theirs, "spec": {"runStrategy": "Halted"}})
    with pytest.raises(StepError) as caught:
        world.build()
    assert caught.value.code is Exit.CONFLICT
    assert world.vm()["metadata"] == before["metadata"]


def test_a_claim_that_is_older_than_its_data_volume_is_not_attached() -> None:
    world = World()
    world.publish_all()
    claim = world.cluster.peek(CLAIM, "web01-disk-0", "default")
    assert claim is not None
    claim["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
    with pytest.raises(StepError, match="is not attached") as caught:
        world.build()
    assert caught.value.code is Exit.CONFLICT
    assert world.vms() == []


def test_a_claim_of_another_owner_is_not_attached() -> None:
    world = World()
    world.publish_all()
    claim = world.cluster.peek(CLAIM, "web01-disk-0", "default")
    assert claim is not None
    claim["metadata"]["ownerReferences"] = [IMPORT.owner_reference("web", "6f1d")]
    with pytest.raises(StepError, match="is not the volume of DataVolume"):
        world.build()


def test_start_refuses_a_volume_that_was_exchanged_after_build() -> None:
    world = World()
    world.publish_all()
    world.build()
    vm = world.cluster.peek(MACHINE, "web01", "default")
    assert vm is not None
    volume = vm["spec"]["template"]["spec"]["volumes"][0]
    volume["persistentVolumeClaim"]["claimName"] = "another"
    with pytest.raises(StepError, match="has no volume for disk-0"):
        world.start()
    assert world.vm()["spec"]["runStrategy"] == "Halted"


def test_a_data_volume_that_is_not_marked_is_not_used() -> None:
    world = World()
    world.publish_all()
    data_volume = world.cluster.peek(DATA_VOLUME, "web01-disk-0", "default")
    assert data_volume is not None
    del data_volume["metadata"]["annotations"][markers.PUBLISHED]
    with pytest.raises(StepError, match="there is no DataVolume of disk-0"):
        world.build()


def test_a_claim_without_labels_gets_those_of_the_import() -> None:
    world = World()
    world.cdi.labels_claims = False
    world.publish_all()
    world.build()
    labels = world.claims()[0]["metadata"]["labels"]
    assert (labels[LABEL_UID], labels[LABEL_RUN]) == ("6f1d", "vmi-web-6f1d-g1")


def test_halt_stops_the_vm_and_marks_its_volumes_stale() -> None:
    world = World()
    world.carry_out()
    remaining = halt(world.plan, world.cluster, world.time, KINDS, clock=world.time.clock)
    assert world.vm()["spec"]["runStrategy"] == "Halted"
    assert [line.split()[0] for line in remaining] == [
        "VirtualMachine",
        "DataVolume",
        "PersistentVolumeClaim",
    ]
    for resource in (world.vm(), *world.data_volumes(), *world.claims()):
        assert markers.STALE in resource["metadata"]["annotations"]


def test_discard_deletes_the_vm_and_the_volumes_of_an_import_without_an_owner() -> None:
    world = World(disks=2)
    world.cluster.drop(IMPORT, "web", "default")
    world.publish_all()
    world.build()
    deleted = discard(world.plan, world.cluster, world.time, KINDS, clock=world.time.clock)
    assert [line.split()[0] for line in deleted] == ["VirtualMachine", "DataVolume", "DataVolume"]
    assert world.vms() == world.data_volumes() == world.claims() == []
