"""The volumes of a VM's disks on KubeVirt: the claims that `hand-over` has finished."""

from __future__ import annotations

from steps.model.kinds import CLAIM, Object
from steps.model.machine import DiskId
from steps.model.mapping import Shape, TargetDisk
from steps.targets.kubevirt.owned_volumes import OwnedVolumes
from steps.targets.landing.finished import finished_claim, verify_finished


class LandedVolumes(OwnedVolumes):
    """The claims of the disks of a run."""

    OWNED = CLAIM

    def claims(self, shape: Shape, owners: list[Object]) -> dict[DiskId, str]:
        return {disk.id: str(self._finished(disk.id)["metadata"]["name"]) for disk in shape.disks}

    def verify(self, disk: TargetDisk, claim: Object) -> None:
        verify_finished(claim, self._plan, disk.id)

    def _finished(self, disk: DiskId) -> Object:
        return finished_claim(self._cluster, self._plan, disk)
