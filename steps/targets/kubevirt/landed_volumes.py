"""The volumes of a VM's disks on KubeVirt: the claims that `hand-over` finishes."""

from __future__ import annotations

from steps.model.kinds import CLAIM, Object
from steps.model.machine import DiskId
from steps.model.mapping import Shape, TargetDisk
from steps.model.plan import Plan
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster
from steps.targets.kubevirt.owned_volumes import OwnedVolumes
from steps.targets.landing.finished import chosen_claim, finished_claim, lands_in_place, verify_finished


class LandedVolumes(OwnedVolumes):
    """The claims of the disks of a run."""

    OWNED = CLAIM

    def __init__(self, plan: Plan, cluster: Cluster, volumes: Volumes) -> None:
        super().__init__(plan, cluster)
        self._volumes = volumes

    def claims(self, shape: Shape, owners: list[Object]) -> dict[DiskId, str]:
        return {disk.id: chosen_claim(self._volumes, disk.id) for disk in shape.disks}

    def is_landing(self, shape: Shape) -> bool:
        return lands_in_place(self._cluster, self._plan, self._volumes, [disk.id for disk in shape.disks])

    def verify(self, disk: TargetDisk, claim: Object) -> None:
        verify_finished(claim, self._plan, disk.id)

    def _finished(self, disk: DiskId) -> Object:
        return finished_claim(self._cluster, self._plan, disk)
