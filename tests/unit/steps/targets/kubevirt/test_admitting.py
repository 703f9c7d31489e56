"""The step `admit` for KubeVirt: every reason before the VM is shut down, and nothing is stored."""

from __future__ import annotations

import pytest

from steps.model.admission import Verdict
from steps.model.contract import Exit, StepError
from steps.model.kinds import (
    CDI_CONFIG,
    CSI_DRIVER,
    DATA_VOLUME,
    MACHINE,
    NAD,
    RESOURCE_QUOTA,
    STORAGE_PROFILE,
    Kind,
)
from steps.model.plan import NetworkRule
from steps.targets.landing.storage import storage_for
from tests.unit.steps.targets.harvester.stand_ins import a_class
from tests.unit.steps.targets.kubevirt.world import GIB, World, a_csi_driver, a_profile


def test_a_vm_that_fits_is_accepted_and_nothing_is_stored() -> None:
    world = World(disks=2)
    admission = world.admit()
    assert {finding.verdict for finding in admission.findings} == {Verdict.PASSED}
    assert {"DataVolume of disk-1", "claim of disk-1", "vm", "quota"} <= {
        finding.check for finding in admission.findings
    }
    assert world.data_volumes() == world.claims() == world.vms() == []


@pytest.mark.parametrize(("kind", "program"), [(DATA_VOLUME, "CDI"), (MACHINE, "KubeVirt")])
def test_a_cluster_without_the_program_is_refused_with_its_name(kind: Kind, program: str) -> None:
    world = World()
    volumes = world.volumes()
    group = kind.group
    world.cluster.kinds = {one for one in world.cluster.kinds if one.group != group}
    world.chosen[world.plan.run] = volumes
    with pytest.raises(StepError, match=rf"{program} \({group}\)") as caught:
        world.admit()
    assert caught.value.code is Exit.NOT_FOUND
    assert "spec.target" in caught.value.remedy


def test_a_class_that_does_not_exist_is_refused() -> None:
    world = World(storage_class="nowhere")
    with pytest.raises(StepError, match="no storage class nowhere"):
        world.admit()


def test_a_network_that_does_not_exist_is_refused() -> None:
    world = World(networks=(NetworkRule(source="VM Network", destination="default/vlan1"),))
    world.cluster.drop(NAD, "vlan1", "default")
    with pytest.raises(StepError, match="default/vlan1 does not exist") as caught:
        world.admit()
    assert "Multus" in caught.value.why


def test_a_network_that_may_not_be_read_is_reported_as_not_checked() -> None:
    world = World(networks=(NetworkRule(source="VM Network", destination="default/vlan1"),))
    world.cluster.denied.add(("get", NAD))
    findings = {finding.check: finding.verdict for finding in world.admit().findings}
    assert findings["network default/vlan1"] is Verdict.NOT_CHECKED


def test_a_class_whose_modes_nobody_states_is_a_warning() -> None:
    world = World()
    world.cluster.put(a_profile("ceph", access_mode=""))
    warned = [one.message for one in world.admit().findings if one.verdict is Verdict.WARNED]
    assert len(warned) == 1
    assert "ceph" in warned[0]
    assert "live" in warned[0]


MIB = 1 << 20
CLAIM_OF_DISK = GIB
"""The disks of the VM have 1 GiB, on Block volumes."""
SCRATCH = 1090 * MIB
"""CDI copies to a volume with a filesystem: 1 GiB, plus 6 %."""


def with_quota(world: World, size: int) -> World:
    metadata = {"name": "small", "namespace": "default"}
    spec = {"hard": {"requests.storage": str(size)}}
    world.cluster.put({"apiVersion": "v1", "kind": RESOURCE_QUOTA.kind, "metadata": metadata, "spec": spec})
    return world


@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.parametrize(("populator", "copies"), [(False, 2), (True, 3)])
def test_the_quota_must_have_room_for_the_disks_and_what_cdi_makes_for_the_largest_one(
    missing: int, *, populator: bool, copies: int
) -> None:
    world = World(disks=2)
    assert {disk.capacity for disk in world.machine.disks} == {CLAIM_OF_DISK}
    if populator:
        world.cluster.put(a_csi_driver("rbd.csi.ceph.com"))
    with_quota(world, copies * CLAIM_OF_DISK + SCRATCH - missing)
    if not missing:
        world.admit()
        return
    with pytest.raises(StepError, match=r"requests.storage of ResourceQuota small") as caught:
        world.admit()
    assert caught.value.code is Exit.NO_SPACE


def test_without_the_right_to_read_csi_drivers_the_quota_must_have_room_for_a_populator() -> None:
    world = with_quota(World(), CLAIM_OF_DISK + SCRATCH)
    world.admit()
    world.cluster.denied.add(("get", CSI_DRIVER))
    with pytest.raises(StepError, match=r"requests.storage of ResourceQuota small"):
        world.admit()


def test_scratch_counts_for_the_class_that_cdi_uses_for_it() -> None:
    world = with_quota(World(), 10 * GIB)
    status = {"scratchSpaceStorageClass": "cheap", "filesystemOverhead": {"global": "0.5"}}
    config = {"apiVersion": CDI_CONFIG.api_version, "kind": CDI_CONFIG.kind, "metadata": {"name": "config"}}
    world.cluster.put({**config, "status": status})
    limit = "cheap.storageclass.storage.k8s.io/requests.storage"
    quota = world.cluster.all(RESOURCE_QUOTA, "default")[0]
    quota["spec"]["hard"] = {limit: str(2 * GIB)}
    world.admit()
    quota["spec"]["hard"] = {limit: str(2 * GIB - 1)}
    with pytest.raises(StepError, match="cheap"):
        world.admit()


def test_a_claim_with_a_filesystem_is_larger_by_the_overhead_of_its_class() -> None:
    world = World()
    world.cluster.put(a_profile("ceph", "ReadWriteOnce", "Filesystem"))
    storage = storage_for(world.cluster, "ceph")
    size = storage.claim_size(10 * GIB)
    assert size * (1 - 0.06) >= 10 * GIB
    assert size - 10 * GIB / (1 - 0.06) < 1 << 20


def test_a_claim_is_never_smaller_than_the_minimum_of_its_class() -> None:
    world = World()
    note = {"cdi.kubevirt.io/minimumSupportedPvcSize": "4Gi"}
    world.cluster.put(a_profile("ceph", annotations=note))
    assert storage_for(world.cluster, "ceph").claim_size(GIB) == 4 * GIB


def test_a_profile_that_may_not_be_read_does_not_stop_the_import() -> None:
    world = World()
    world.cluster.put(a_class("plain", "plain.example"))
    world.cluster.denied.add(("get", STORAGE_PROFILE))
    assert storage_for(world.cluster, "plain").guessed
