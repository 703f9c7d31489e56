"""KubeVirt without Harvester as target: a VirtualMachine over the claims of its disks.

CDI downloads a disk into a DataVolume, or the disk lands directly on the volume of its claim.

docs/reference/kubevirt.md describes what is made, marked and let go. This package is the cluster side of
`admit`, `image` or `hand-over`, `build`, `start` and `halt` (identity `target`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from steps.model.admission import Admission
from steps.model.kinds import CLAIM, DATA_VOLUME, MACHINE, Kind
from steps.model.machine import Disk, Machine
from steps.model.mapping import Shape
from steps.model.plan import DiskWay, Plan
from steps.model.volumes import Volumes
from steps.targets.cluster import markers
from steps.targets.cluster.ownership import annotations_of
from steps.targets.cluster.published import Integrity, PublishedImage
from steps.targets.cluster.serving import Serving
from steps.targets.cluster.target import ClusterTarget
from steps.targets.cluster.vm_objects import DiskVolumes
from steps.targets.kubevirt import objects
from steps.targets.kubevirt.admission_check import AdmissionCheck
from steps.targets.kubevirt.disk_volumes import DataVolumes
from steps.targets.kubevirt.landed_volumes import LandedVolumes
from steps.targets.kubevirt.publishing import VolumePublication
from steps.targets.kubevirt.volume_names import choose_names
from steps.targets.target import ProgressCallback

KINDS: Final = (MACHINE, DATA_VOLUME, CLAIM)
"""What an import makes, in the order in which it is deleted. CDI deletes a claim with its DataVolume."""
LANDED_KINDS: Final = (MACHINE, CLAIM)
"""The same for disks that landed on their volumes: the cluster need not have CDI."""


def kinds_of(plan: Plan) -> Sequence[Kind]:
    """What the import of this plan makes, in the order in which it is deleted."""
    return LANDED_KINDS if plan.target.way is DiskWay.LAND else KINDS


class KubeVirtTarget(ClusterTarget):
    """The target `kubevirt`."""

    def name_volumes(self, shape: Shape, previous: Volumes | None) -> Volumes:
        return choose_names(self._cluster, self._plan, shape, previous)

    def _kinds(self) -> Sequence[Kind]:
        return kinds_of(self._plan)

    def _disk_volumes(self) -> DiskVolumes:
        if self._plan.target.way is DiskWay.LAND:
            return LandedVolumes(self._plan, self._cluster, self._volumes)
        return DataVolumes(self._plan, self._cluster)

    def _admission(self, machine: Machine, shape: Shape, volumes: Volumes) -> Admission:
        return AdmissionCheck(self._plan, machine, self._cluster, volumes, self._scratch).run(shape)

    def _fetch(self, disk: Disk, serving: Serving, report: ProgressCallback) -> PublishedImage:
        publication = VolumePublication(
            self._plan,
            disk,
            self._cluster,
            serving,
            self._stop,
            volumes=self._volumes,
            workflow=self._workflow,
        )
        data_volume = publication.run(report)
        annotations, name = annotations_of(data_volume), str(data_volume["metadata"]["name"])
        return PublishedImage(
            id=disk.id,
            name=name,
            format=self._served_format(objects.url_of(data_volume)),
            size=int(data_volume["spec"]["storage"]["resources"]["requests"]["storage"]),
            sha256="",
            sha512=annotations.get(markers.DIGEST, ""),
            integrity=Integrity(annotations.get(markers.INTEGRITY, Integrity.NOT_COMPARED)),
            volume=name,
        )
