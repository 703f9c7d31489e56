"""Whether KubeVirt and CDI would accept the objects of an import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from steps.model.admission import Admission
from steps.model.kinds import CLAIM, DATA_VOLUME, MACHINE, Object
from steps.model.machine import DiskId, Machine
from steps.model.mapping import Shape
from steps.model.plan import DiskWay, Plan
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster
from steps.targets.checks.facts import ClaimNeed
from steps.targets.cluster import quota
from steps.targets.cluster.admission import AdmissionReport, refuse_missing_apis, vm_needs
from steps.targets.cluster.claim_needs import claim_need, new_claims
from steps.targets.cluster.matchers import check_matchers
from steps.targets.cluster.ownership import owner_references
from steps.targets.kubevirt import objects
from steps.targets.landing.admission import check_volume_right, guessed_modes
from steps.targets.landing.manifest import claim_manifest
from steps.targets.landing.storage import VolumeStorage, scratch_for, storage_of

APIS: Final = (("kubevirt.io", "KubeVirt"), ("cdi.kubevirt.io", "CDI"))
LANDING_APIS: Final = APIS[:1]
"""If the disks land on their volumes: that needs no CDI."""
_REMEDY: Final = "set kubevirt.disks to pull, or upgrade the chart with kubevirt.disks=land or auto"


def apis(plan: Plan) -> Sequence[tuple[str, str]]:
    """The APIs that the cluster must serve for this plan: pairs of API group and program."""
    return LANDING_APIS if plan.target.way is DiskWay.LAND else APIS


class AdmissionCheck:
    """The checks of one import at its target."""

    def __init__(
        self,
        plan: Plan,
        machine: Machine,
        cluster: Cluster,
        volumes: Volumes,
        scratch: Sequence[ClaimNeed] = (),
    ) -> None:
        """`scratch` are further claims for the copies of the disks."""
        self._plan = plan
        self._scratch = scratch
        self._machine = machine
        self._cluster = cluster
        self._volumes = volumes
        self._report = AdmissionReport(plan, cluster, machine.name)

    def run(self, shape: Shape) -> Admission:
        """Make every check.

        Raises:
            StepError: all reasons why the cluster refuses, with the code of the first; or the first
                transient error.
        """
        refuse_missing_apis(self._cluster, "kubevirt", apis(self._plan))
        self._report.check_name(shape)
        owners = owner_references(self._cluster, self._plan, dry_run=True)
        storages = self._report.storages(self._machine.disks, partial(storage_of, self._cluster, self._plan))
        self._report.add(*guessed_modes(storages))
        claims = {disk: self._claim_manifest(disk, storage) for disk, storage in storages.items()}
        if self._lands:
            check = partial(check_volume_right, self._cluster, self._plan, _REMEDY)
            self._report.record("right to hand volumes over", check)
        for disk, storage in storages.items():
            if not self._lands:
                self._report.dry_run(f"DataVolume of {disk}", self._volume_manifest(disk, storage, owners))
            self._report.dry_run(f"claim of {disk}", claims[disk])
        instancetype = check_matchers(self._report, self._cluster, self._plan)
        manifest = objects.vm_manifest(self._plan, shape, self._volumes.names, owners)
        vm = self._report.check_vm(shape, manifest)
        if len(storages) == len(self._machine.disks):
            self._report.check_quota(lambda: self._needs(shape, storages, claims, vm, instancetype))
        needed = [*self._claim_needs(storages, claims), *self._scratch]
        self._report.check_facts(shape, needed, manifest)
        return self._report.result()

    @property
    def _lands(self) -> bool:
        return self._plan.target.way is DiskWay.LAND

    def _volume_manifest(self, disk: DiskId, storage: VolumeStorage, owners: list[Object]) -> Object:
        return objects.data_volume_manifest(
            self._plan,
            disk,
            name=self._volumes.names[disk],
            url=f"http://not-served-yet/{disk}.{self._plan.target.format}",
            landed="",
            capacity=self._machine.disk(disk).capacity,
            storage=storage,
            owners=owners,
        )

    def _claim_manifest(self, disk: DiskId, storage: VolumeStorage) -> Object:
        """The claim that CDI, or `hand-over`, will create. No webhook of CDI checks it."""
        size = storage.claim_size(self._machine.disk(disk).capacity)
        return claim_manifest(self._plan, disk, name=self._volumes.names[disk], size=size, storage=storage)

    def _claim_needs(
        self, storages: Mapping[DiskId, VolumeStorage], claims: Mapping[DiskId, Object]
    ) -> list[ClaimNeed]:
        """The volumes that the import will still create, and CDI's scratch for the largest one."""
        found = list(new_claims(self._cluster, self._plan, self._machine, claims))
        new = [disk for disk in self._machine.disks if disk.id in {claim.title for claim in found}]
        if new and not self._lands:
            largest = max(new, key=lambda disk: disk.capacity)
            scratch = self._claim_manifest(largest.id, scratch_for(self._cluster, storages[largest.id]))
            found.append(claim_need(self._plan, largest, scratch, f"CDI's scratch of {largest.id}"))
        return found

    def _needs(
        self,
        shape: Shape,
        storages: Mapping[DiskId, VolumeStorage],
        claims: Mapping[DiskId, Object],
        vm: Object | None,
        instancetype: Object | None,
    ) -> quota.Needs:
        """What the import adds to the namespace: existing objects already count as used.

        CDI copies each disk to a scratch claim first. With a populator it also makes a second claim of the
        disk's size, until it moves the volume. The disks can wait for each other, so that is needed for the
        largest disk in any case. A disk that lands needs its own claim only.
        """
        new = [disk for disk, claim in claims.items() if not self._report.exists(CLAIM, claim)]
        needed = [(storages[disk].storage_class, claims[disk]) for disk in new]
        if new and not self._lands:
            largest = max(new, key=lambda disk: self._machine.disk(disk).capacity)
            storage, scratch = storages[largest], scratch_for(self._cluster, storages[largest])
            if storage.populated:
                needed.append((storage.storage_class, claims[largest]))
            needed.append((scratch.storage_class, self._claim_manifest(largest, scratch)))
        new_volumes = [
            disk for disk in new if not self._lands and not self._report.exists(DATA_VOLUME, claims[disk])
        ]
        vm_exists = vm is not None and self._report.exists(MACHINE, vm)
        return quota.add_needs(
            quota.claim_needs(needed, CLAIM),
            quota.count_needs(DATA_VOLUME, len(new_volumes)),
            vm_needs(vm, _requests(vm, instancetype), exists=vm_exists, start=shape.start),
        )


def _requests(vm: Object | None, instancetype: Object | None) -> Object:
    """What KubeVirt requests at least for the VM's pod: the guest's memory, if it is known."""
    if vm is None:
        return {}
    domain = vm["spec"]["template"]["spec"]["domain"]
    size = domain.get("memory") or (instancetype or {}).get("spec", {}).get("memory") or {}
    return {"requests": {"memory": size["guest"]}} if size.get("guest") else {}
