"""Harvester as target: a VirtualMachineImage per disk, a claim per image, a VirtualMachine over the claims.

docs/reference/harvester.md describes what is made, marked and let go. This package is the cluster side of
`admit`, `image`, `build`, `start` and `halt` (identity `target`), of `serve` (`sibling`), and of
`delete-scratch` (`run_objects`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from steps.model.admission import Admission
from steps.model.kinds import CLAIM, IMAGE, MACHINE, Kind, Object
from steps.model.machine import Disk, DiskId, Machine
from steps.model.mapping import Shape
from steps.model.volumes import Volumes
from steps.targets.cluster import markers
from steps.targets.cluster.ownership import annotations_of
from steps.targets.cluster.published import Integrity, PublishedImage
from steps.targets.cluster.serving import Serving
from steps.targets.cluster.target import ClusterTarget
from steps.targets.cluster.vm_objects import DiskVolumes
from steps.targets.harvester.admission_check import AdmissionCheck
from steps.targets.harvester.disk_volumes import HarvesterVolumes
from steps.targets.harvester.image_state import image_state
from steps.targets.harvester.publishing import ImagePublication
from steps.targets.harvester.storage import Backend
from steps.targets.harvester.volume_names import choose_names
from steps.targets.target import ProgressCallback

KINDS: Final = (MACHINE, CLAIM, IMAGE)
"""What an import makes, in the order in which it is deleted: Harvester keeps an image that a volume uses."""


class HarvesterTarget(ClusterTarget):
    """The target `harvester`."""

    def name_volumes(self, shape: Shape, previous: Volumes | None) -> Volumes:
        return choose_names(self._cluster, self._plan, shape, previous)

    def _kinds(self) -> Sequence[Kind]:
        return KINDS

    def _disk_volumes(self) -> DiskVolumes:
        return HarvesterVolumes(self._plan, self._cluster, self._volumes)

    def _admission(self, machine: Machine, shape: Shape, volumes: Volumes) -> Admission:
        return AdmissionCheck(self._plan, machine, self._cluster, volumes, self._scratch).run(shape)

    def _fetch(self, disk: Disk, serving: Serving, report: ProgressCallback) -> PublishedImage:
        publication = ImagePublication(
            self._plan,
            disk,
            self._cluster,
            serving,
            self._stop,
            volumes=self._volumes,
            workflow=self._workflow,
        )
        image = publication.run(report)
        annotations = annotations_of(image)
        return PublishedImage(
            id=disk.id,
            name=image["metadata"]["name"],
            format=self._served_format(str(image["spec"].get("url", ""))),
            size=image_state(image).size,
            sha256="",
            sha512=annotations.get(markers.DIGEST, ""),
            integrity=Integrity(annotations.get(markers.INTEGRITY, Integrity.NOT_COMPARED)),
            volume=self._volume_name(disk.id, image),
        )

    def _volume_name(self, disk: DiskId, image: Object) -> str:
        name = self._volumes.names.get(disk, "")
        return str(image["metadata"]["name"]) if name and image["spec"]["backend"] == Backend.CDI else name
