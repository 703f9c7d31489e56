"""The volumes of a VM's disks on Harvester: claims over backing images, or CDI's own claims."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, IMAGE, Object
from steps.model.machine import DiskId
from steps.model.mapping import TargetDisk
from steps.model.plan import Plan
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster, ExistsError
from steps.targets.cluster import markers
from steps.targets.cluster.completion import published_for
from steps.targets.cluster.ownership import annotations_of
from steps.targets.harvester import objects
from steps.targets.harvester.claim_check import verified_claim
from steps.targets.harvester.image_state import image_state
from steps.targets.harvester.storage import Backend


class ImageVolumes:
    """The volumes of the images that `image` finished: one for each of these disks."""

    def __init__(self, plan: Plan, cluster: Cluster, volumes: Volumes) -> None:
        self._plan = plan
        self._cluster = cluster
        self._volumes = volumes
        self._namespace = plan.target.namespace

    def claims(self, disks: Sequence[TargetDisk], owners: list[Object]) -> dict[DiskId, str]:
        """The name of each disk's claim. The errors are those of `DiskVolumes.claims`."""
        images = self.images([disk.id for disk in disks])
        return {disk.id: self._claim(images[disk.id], disk, owners) for disk in disks}

    def verify(self, disk: DiskId, claim: Object) -> None:
        """Raise StepError (CONFLICT) unless the claim is over the image of the disk."""
        verified_claim(self._cluster, self._plan, disk, claim, self.images([disk])[disk])

    def images(self, disks: Sequence[DiskId]) -> dict[DiskId, Object]:
        """The image of each disk that `image` finished.

        Raises:
            StepError: INVALID, if one does not exist.
        """
        run_images = self._cluster.find(IMAGE, self._namespace, {names.LABEL_RUN: self._plan.run})
        by_mark = {annotations_of(image).get(markers.PUBLISHED): image for image in run_images}
        images = {disk: by_mark.get(published_for(self._plan, disk)) for disk in disks}
        missing = sorted(disk for disk, image in images.items() if image is None)
        if missing:
            raise StepError(
                Exit.INVALID,
                f"there is no image of {', '.join(missing)}",
                "it was deleted",
                "start a new import",
            )
        return {disk: image for disk, image in images.items() if image is not None}

    def _claim(self, image: Object, disk: TargetDisk, owners: list[Object]) -> str:
        """The name of the disk's claim, which exists and is ours."""
        if image["spec"].get("backend") == Backend.CDI:
            claim = self._cdi_claim(image["metadata"]["name"])
        else:
            claim = self._backing_image_claim(image, disk, owners)
        verified_claim(self._cluster, self._plan, disk.id, claim, image)
        return str(claim["metadata"]["name"])

    def _backing_image_claim(self, image: Object, disk: TargetDisk, owners: list[Object]) -> Object:
        """The claim over a backing image, created now or by an earlier attempt."""
        name = self._volumes.names.get(disk.id, image["metadata"]["name"])
        manifest = objects.claim_manifest(
            self._plan, disk, name=name, image=image, image_state=image_state(image), owners=owners
        )
        with contextlib.suppress(ExistsError):
            return self._cluster.create(manifest)
        claim = self._cluster.get(CLAIM, name, self._namespace)
        if claim is None:
            raise StepError(Exit.BUSY, f"claim {name} was deleted just now")
        return claim

    def _cdi_claim(self, name: str) -> Object:
        """CDI's claim with the image's name, which is the VM's volume directly."""
        claim = self._cluster.get(CLAIM, name, self._namespace)
        if claim is None:
            raise StepError(
                Exit.UNREACHABLE, f"CDI has not created claim {self._namespace}/{name} from the image"
            )
        return claim
