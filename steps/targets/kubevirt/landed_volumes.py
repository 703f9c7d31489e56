"""The volumes of a VM's disks on KubeVirt: the claims that `hand-over` has finished."""

from __future__ import annotations

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, Object
from steps.model.machine import DiskId
from steps.model.mapping import Shape
from steps.targets.cluster.ownership import foreign_volume_error, refuse_deleting
from steps.targets.kubevirt.landing_claims import is_finished
from steps.targets.kubevirt.owned_volumes import OwnedVolumes


class LandedVolumes(OwnedVolumes):
    """The claims of the disks of a run."""

    OWNED = CLAIM

    def claims(self, shape: Shape, owners: list[Object]) -> dict[DiskId, str]:
        return {disk.id: str(self._finished(disk.id)["metadata"]["name"]) for disk in shape.disks}

    def verify(self, disk: DiskId, claim: Object) -> None:
        refuse_deleting(claim)
        if not is_finished(claim, self._plan, disk):
            raise foreign_volume_error(claim, f"it is not the finished volume of {disk} of this import")

    def _finished(self, disk: DiskId) -> Object:
        """The finished claim of the disk.

        Raises:
            StepError: INVALID, if there is none; BUSY, while its volume is not bound.
        """
        labels = {names.LABEL_RUN: self._plan.run, names.LABEL_DISK: disk}
        for claim in self._cluster.find(CLAIM, self._namespace, labels):
            if is_finished(claim, self._plan, disk):
                phase = (claim.get("status") or {}).get("phase")
                if phase != "Bound":
                    where = f"{self._namespace}/{claim['metadata']['name']}"
                    raise StepError(Exit.BUSY, f"claim {where} is not bound", f"it is {phase or 'new'}")
                return claim
        raise StepError(
            Exit.INVALID,
            f"there is no finished volume of {disk}",
            "it was deleted, or its hand-over is not complete",
            "start a new import",
        )
