"""The volumes of a VM's disks on KubeVirt: the claims of the DataVolumes that `image` finished."""

from __future__ import annotations

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, DATA_VOLUME, Object
from steps.model.machine import DiskId
from steps.model.mapping import Shape, TargetDisk
from steps.targets.cluster import markers
from steps.targets.cluster.completion import published_for
from steps.targets.cluster.ownership import annotations_of, refuse_deleting
from steps.targets.kubevirt.owned_volumes import OwnedVolumes
from steps.targets.kubevirt.volume_check import refuse_other_run, verified_claim
from steps.targets.kubevirt.volume_state import volume_state


class DataVolumes(OwnedVolumes):
    """The DataVolumes of a run, which own their claims."""

    OWNED = DATA_VOLUME

    def claims(self, shape: Shape, owners: list[Object]) -> dict[DiskId, str]:
        return {disk.id: self._claim(disk.id) for disk in shape.disks}

    def is_landing(self, shape: Shape) -> bool:
        return False

    def verify(self, disk: TargetDisk, claim: Object) -> None:
        verified_claim(self._cluster, self._plan, disk.id, claim, self._finished(disk.id))

    def _finished(self, disk: DiskId) -> Object:
        """The DataVolume that `image` finished.

        Raises:
            StepError: INVALID, if there is none.
        """
        labels = {names.LABEL_RUN: self._plan.run, names.LABEL_DISK: disk}
        for found in self._cluster.find(DATA_VOLUME, self._namespace, labels):
            marked = annotations_of(found).get(markers.PUBLISHED) == published_for(self._plan, disk)
            if marked and volume_state(found).imported:
                refuse_deleting(found)
                refuse_other_run(found, self._plan)
                return found
        raise StepError(
            Exit.INVALID, f"there is no DataVolume of {disk}", "it was deleted", "start a new import"
        )

    def _claim(self, disk: DiskId) -> str:
        """The name of the disk's claim, which exists and is ours."""
        data_volume = self._finished(disk)
        name = str(data_volume["metadata"]["name"])
        claim = self._cluster.get(CLAIM, name, self._namespace)
        if claim is None:
            raise StepError(
                Exit.UNREACHABLE, f"claim {self._namespace}/{name} of the DataVolume does not exist"
            )
        verified_claim(self._cluster, self._plan, disk, claim, data_volume)
        return name
