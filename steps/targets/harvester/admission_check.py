"""Whether Harvester would accept the objects of an import.

The objects are those that `image`, `hand-over` and `build` create later. The API server, its webhooks and its
quotas check them and store none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from steps.model.admission import Admission, Finding, warned
from steps.model.kinds import CLAIM, IMAGE, MACHINE, Object
from steps.model.machine import Disk, DiskId, Machine
from steps.model.mapping import Shape, TargetDisk, disk_way
from steps.model.plan import DiskWay, Plan
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster
from steps.targets.checks.facts import ClaimNeed
from steps.targets.cluster import quota
from steps.targets.cluster.admission import AdmissionReport, refuse_missing_apis, vm_needs
from steps.targets.cluster.claim_needs import new_claims
from steps.targets.cluster.matchers import check_matchers
from steps.targets.cluster.ownership import owner_references
from steps.targets.cluster.storage_classes import storage_class_name
from steps.targets.harvester import image_names, objects
from steps.targets.harvester.image_state import image_state
from steps.targets.harvester.plain_volumes import plain_storage
from steps.targets.harvester.storage import Backend, ImageStorage, storage_for
from steps.targets.landing.admission import check_volume_right, guessed_modes
from steps.targets.landing.manifest import claim_manifest as plain_claim
from steps.targets.landing.storage import VolumeStorage

APIS: Final = (("harvesterhci.io", "Harvester"), ("kubevirt.io", "KubeVirt"))
_MIB: Final = 1 << 20
_REMEDY: Final = (
    "remove `as: volume` from spec.diskMapping, or upgrade the chart with harvester.allowVolumes=true"
)


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
        self._volumes = volumes
        self._machine = machine
        self._cluster = cluster
        self._namespace = plan.target.namespace
        self._report = AdmissionReport(plan, cluster, machine.name)

    def run(self, shape: Shape) -> Admission:
        """Make every check.

        Raises:
            StepError: all reasons why the cluster refuses, with the code of the first; or the first
                transient error.
        """
        refuse_missing_apis(self._cluster, "harvester", APIS)
        self._report.check_name(shape)
        owners = owner_references(self._cluster, self._plan, dry_run=True)
        storages = self._report.storages(self._disks(DiskWay.PULL), self._storage_of)
        for disk, storage in storages.items():
            self._report.dry_run(f"image of {disk}", self._image_manifest(disk, storage, owners))
        claims = {
            disk.id: self._claim_manifest(disk, storages[disk.id], owners)
            for disk in shape.disks
            if disk.id in storages
        }
        volumes = self._plain_volumes()
        claims |= {disk: self._plain_claim(disk, storage) for disk, storage in volumes.items()}
        for disk, claim in claims.items():
            self._report.dry_run(f"claim of {disk}", claim)
        vm = self._check_vm(shape, claims, owners)
        check_matchers(self._report, self._cluster, self._plan)
        if len(claims) == len(self._machine.disks):
            classes = {disk: storage.storage_class for disk, storage in (storages | volumes).items()}
            self._report.check_quota(lambda: self._needs(shape, storages, classes, claims, vm))
        needed = [*new_claims(self._cluster, self._plan, self._machine, claims), *self._scratch]
        self._report.check_facts(shape, needed, vm)
        return self._report.result()

    def _disks(self, way: DiskWay) -> list[Disk]:
        return [disk for disk in self._machine.disks if disk_way(disk, self._plan.target) is way]

    def _storage_of(self, disk: Disk) -> ImageStorage:
        return storage_for(self._cluster, storage_class_name(self._plan.target, disk))

    def _plain_volumes(self) -> dict[DiskId, VolumeStorage]:
        """The storage of the disks that land on plain volumes, and whether they may."""
        disks = self._disks(DiskWay.LAND)
        if not disks:
            return {}
        check = partial(check_volume_right, self._cluster, self._plan, _REMEDY)
        self._report.record("right to hand volumes over", check)
        storages = self._report.storages(disks, partial(plain_storage, self._cluster, self._plan))
        self._report.add(*guessed_modes(storages))
        return storages

    def _plain_claim(self, disk: DiskId, storage: VolumeStorage) -> Object:
        """The claim that `hand-over` will create; it has the class and the modes of the one that lands."""
        size = storage.claim_size(self._machine.disk(disk).capacity)
        return plain_claim(self._plan, disk, name=self._volumes.names[disk], size=size, storage=storage)

    def _image_manifest(self, disk: DiskId, storage: ImageStorage, owners: list[Object]) -> Object:
        return objects.image_manifest(
            self._plan,
            disk,
            name=self._image_name(disk, storage),
            display_name=self._display_name(disk),
            url=f"http://not-served-yet/{disk}.{self._plan.target.format}",
            landed="",
            storage=storage,
            owners=owners,
        )

    def _display_name(self, disk: DiskId) -> str:
        """The image's display name; with a suffix if an image of an earlier import has it.

        `image` reuses that one, or creates another: Harvester allows a display name only once.
        """
        display_name = image_names.display_name(self._plan.import_, disk)
        label = {image_names.IMAGE_DISPLAY_NAME: image_names.display_label(display_name)}
        if not self._cluster.find(IMAGE, self._namespace, label):
            return display_name
        suffix = image_names.image_name(self._plan.import_, disk, "another").removeprefix("image-")[:8]
        return image_names.display_name(self._plan.import_, disk, suffix)

    def _image_name(self, disk: DiskId, storage: ImageStorage) -> str:
        volume = self._volumes.names.get(disk, "") if storage.backend is Backend.CDI else ""
        return image_names.volume_image_name(self._plan.import_, disk, volume)

    def _claim_manifest(self, disk: TargetDisk, storage: ImageStorage, owners: list[Object]) -> Object:
        """The claim of the disk, with the requested class: the image's own class does not exist yet."""
        image = self._image_name(disk.id, storage)
        return objects.claim_manifest(
            self._plan,
            disk,
            name=self._volumes.names.get(disk.id, image),
            image={"metadata": {"name": image, "namespace": self._namespace}},
            image_state=image_state({"status": {"storageClassName": storage.storage_class}}),
            owners=owners,
        )

    def _check_vm(
        self,
        shape: Shape,
        claims: Mapping[DiskId, Object],
        owners: list[Object],
    ) -> Object | None:
        """The VM as the cluster would store it; None if the VM already belongs to its owner."""
        # Without its storage the name of a claim is not final, and does not matter for a dry run.
        chosen = {disk.id: self._volumes.names.get(disk.id, disk.id) for disk in shape.disks}
        claim_names = chosen | {disk: claim["metadata"]["name"] for disk, claim in claims.items()}
        manifest = objects.vm_manifest(self._plan, shape, claim_names, owners)
        stored = self._report.check_vm(shape, manifest)
        if stored is not None:
            self._report.add(*_changes(manifest, stored))
        return stored

    def _needs(
        self,
        shape: Shape,
        storages: Mapping[DiskId, ImageStorage],
        classes: Mapping[DiskId, str],
        claims: Mapping[DiskId, Object],
        vm: Object | None,
    ) -> quota.Needs:
        """What the import adds to the namespace: existing objects already count as used.

        `storages` are those of the images, `classes` those of all claims.
        """
        exists = self._report.exists
        new_claims = {disk: claim for disk, claim in claims.items() if not exists(CLAIM, claim)}
        images = [self._image_name(disk, storage) for disk, storage in storages.items()]
        new_images = [name for name in images if self._cluster.get(IMAGE, name, self._namespace) is None]
        resources = vm["spec"]["template"]["spec"]["domain"]["resources"] if vm else {}
        vm_exists = vm is not None and exists(MACHINE, vm)
        return quota.add_needs(
            quota.claim_needs([(classes[disk], claim) for disk, claim in new_claims.items()], CLAIM),
            quota.count_needs(IMAGE, len(new_images)),
            vm_needs(vm, resources, exists=vm_exists, start=shape.start),
        )


def _changes(sent: Object, stored: Object) -> Iterator[Finding]:
    """Changes by the cluster's webhooks that the guest notices."""
    requested, granted = _guest_memory(sent), _guest_memory(stored)
    if granted < requested:
        lost = (requested - granted) // _MIB
        message = (
            f"the guest gets {lost} MiB of memory less than requested ({granted // _MIB} of "
            f"{requested // _MIB} MiB), because this Harvester takes the VM's overhead from the guest; set "
            "Harvester's setting additional-guest-memory-overhead-ratio, or raise spec.memory"
        )
        yield warned("memory", message)


def _guest_memory(vm: Object) -> int:
    """Bytes."""
    return int(quota.amount(vm["spec"]["template"]["spec"]["domain"]["memory"]["guest"]))
