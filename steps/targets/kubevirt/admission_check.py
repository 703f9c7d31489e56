"""Whether KubeVirt and CDI would accept the objects of an import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from steps.model.admission import Admission, not_checked
from steps.model.contract import Exit, StepError
from steps.model.kinds import (
    CLAIM,
    DATA_VOLUME,
    MACHINE,
    NAD,
    V2V_API_VERSION,
    Object,
)
from steps.model.machine import DiskId, Machine
from steps.model.mapping import Shape
from steps.model.plan import DiskWay, Plan
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster
from steps.targets.cluster import quota
from steps.targets.cluster.admission import AdmissionReport, refuse_missing_apis, vm_needs
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

    def __init__(self, plan: Plan, machine: Machine, cluster: Cluster, volumes: Volumes) -> None:
        self._plan = plan
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
        owners = owner_references(self._cluster, self._plan)
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
        for destination in dict.fromkeys(one.network for one in shape.interfaces if one.network):
            self._report.record(f"network {destination}", partial(self._check_network, destination))
        instancetype = check_matchers(self._report, self._cluster, self._plan)
        if len(storages) == len(self._machine.disks):
            names = {disk: claim["metadata"]["name"] for disk, claim in claims.items()}
            vm = self._report.check_vm(shape, objects.vm_manifest(self._plan, shape, names, owners))
            self._report.check_quota(lambda: self._needs(shape, storages, claims, vm, instancetype))
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

    def _check_network(self, destination: str) -> None:
        """KubeVirt accepts a VM whose network does not exist; its pod then never starts."""
        namespace, _, name = destination.partition("/")
        try:
            network = self._cluster.get(NAD, name, namespace)
        except StepError as error:
            if error.code is not Exit.DENIED:
                raise
            self._report.add(not_checked(f"network {destination}", str(error)))
            return
        if network is not None:
            return
        what = f"destination network {destination} does not exist"
        remedy = "create it, or correct spec.networkMapping, then retry"
        if self._plan.import_.api_version == V2V_API_VERSION:  # clients compare the words, with the error
            what = f"Network Attachment Defintion {destination} has not been found. Error"
            remedy = "create it, or correct the network mapping"
        why = "there is no NetworkAttachmentDefinition of that name, or Multus is not installed"
        raise StepError(Exit.NOT_FOUND, what, why, remedy)

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
