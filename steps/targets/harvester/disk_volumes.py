"""The volumes of a VM's disks on Harvester: over images, and plain ones on which a disk landed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from steps.model import names
from steps.model.kinds import CLAIM, IMAGE, Object
from steps.model.machine import DiskId
from steps.model.mapping import Shape, TargetDisk
from steps.model.plan import DiskWay, Plan
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster
from steps.targets.cluster.ownership import labels_of, release_ownership
from steps.targets.harvester import objects
from steps.targets.harvester.image_volumes import ImageVolumes
from steps.targets.landing.finished import chosen_claim, lands_in_place, verify_finished


class HarvesterVolumes:
    """Each disk by its way. See `steps.targets.cluster.vm_objects.DiskVolumes`."""

    def __init__(self, plan: Plan, cluster: Cluster, volumes: Volumes) -> None:
        self._plan = plan
        self._cluster = cluster
        self._volumes = volumes
        self._images = ImageVolumes(plan, cluster, volumes)

    def claims(self, shape: Shape, owners: list[Object]) -> dict[DiskId, str]:
        over_images = self._images.claims(_pulled(shape.disks), owners)
        plain = {disk.id: chosen_claim(self._volumes, disk.id) for disk in _landed(shape.disks)}
        found = over_images | plain
        return {disk.id: found[disk.id] for disk in shape.disks}

    def is_landing(self, shape: Shape) -> bool:
        landed = [disk.id for disk in _landed(shape.disks)]
        return lands_in_place(self._cluster, self._plan, self._volumes, landed)

    def verify(self, disk: TargetDisk, claim: Object) -> None:
        if disk.way is DiskWay.LAND:
            verify_finished(claim, self._plan, disk.id)
        else:
            self._images.verify(disk.id, claim)

    def vm_manifest(self, shape: Shape, claims: Mapping[DiskId, str], owners: list[Object]) -> Object:
        return objects.vm_manifest(self._plan, shape, claims, owners)

    def release(self, shape: Shape, vm: Object) -> None:
        """Nothing owns the volumes from now on: who deletes the VM chooses which of them to delete."""
        images = self._images.images([disk.id for disk in _pulled(shape.disks)])
        owned = [
            *((IMAGE, image) for image in images.values()),
            *((CLAIM, claim) for claim in self._claims()),
        ]
        for kind, resource in owned:
            release_ownership(self._cluster, kind, resource, self._plan)

    def _claims(self) -> list[Object]:
        """The claims of this run, and those without a run label, which earlier versions did not write."""
        labels = {names.LABEL_UID: names.labels(self._plan)[names.LABEL_UID]}
        claims = self._cluster.find(CLAIM, self._plan.target.namespace, labels)
        return [claim for claim in claims if labels_of(claim).get(names.LABEL_RUN) in (None, self._plan.run)]


def _pulled(disks: Iterable[TargetDisk]) -> list[TargetDisk]:
    return [disk for disk in disks if disk.way is DiskWay.PULL]


def _landed(disks: Iterable[TargetDisk]) -> list[TargetDisk]:
    return [disk for disk in disks if disk.way is DiskWay.LAND]
