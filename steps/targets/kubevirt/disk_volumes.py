"""The volumes of a VM's disks on KubeVirt: the claims of the DataVolumes that `image` finished."""

from __future__ import annotations

from collections.abc import Mapping

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, DATA_VOLUME, MACHINE, Object
from steps.model.machine import DiskId
from steps.model.mapping import Shape
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from steps.targets.cluster import markers
from steps.targets.cluster.completion import published_for
from steps.targets.cluster.ownership import annotations_of, refuse_deleting, release_ownership
from steps.targets.kubevirt import objects
from steps.targets.kubevirt.volume_check import refuse_other_run, verified_claim
from steps.targets.kubevirt.volume_state import volume_state


class DataVolumes:
    """The volumes of the DataVolumes of a run. See `steps.targets.cluster.vm_objects.DiskVolumes`."""

    def __init__(self, plan: Plan, cluster: Cluster) -> None:
        self._plan = plan
        self._cluster = cluster
        self._namespace = plan.target.namespace

    def claims(self, shape: Shape, owners: list[Object]) -> dict[DiskId, str]:
        return {disk.id: self._claim(disk.id) for disk in shape.disks}

    def verify(self, disk: DiskId, claim: Object) -> None:
        verified_claim(self._cluster, self._plan, disk, claim, self._data_volume(disk))

    def vm_manifest(self, shape: Shape, claims: Mapping[DiskId, str], owners: list[Object]) -> Object:
        return objects.vm_manifest(self._plan, shape, claims, owners)

    def release(self, shape: Shape, vm: Object) -> None:
        """The VM owns its DataVolumes from now on, and they own their claims: the disks go with the VM."""
        owner = MACHINE.owner_reference(vm["metadata"]["name"], vm["metadata"]["uid"])
        for disk in shape.disks:
            release_ownership(self._cluster, DATA_VOLUME, self._data_volume(disk.id), self._plan, to=owner)

    def _data_volume(self, disk: DiskId) -> Object:
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
        data_volume = self._data_volume(disk)
        name = str(data_volume["metadata"]["name"])
        claim = self._cluster.get(CLAIM, name, self._namespace)
        if claim is None:
            raise StepError(
                Exit.UNREACHABLE, f"claim {self._namespace}/{name} of the DataVolume does not exist"
            )
        verified_claim(self._cluster, self._plan, disk, claim, data_volume)
        return name
