"""What the volumes of a VM on KubeVirt have in common, whichever way the bytes came: the VM owns them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from steps.model.kinds import MACHINE, Kind, Object
from steps.model.machine import DiskId
from steps.model.mapping import Shape
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from steps.targets.cluster.ownership import release_ownership
from steps.targets.kubevirt import objects


class OwnedVolumes(ABC):
    """The volumes of the disks of a run. See `steps.targets.cluster.vm_objects.DiskVolumes`."""

    OWNED: ClassVar[Kind]
    """The kind of object of a disk that the VM owns."""

    def __init__(self, plan: Plan, cluster: Cluster) -> None:
        self._plan = plan
        self._cluster = cluster
        self._namespace = plan.target.namespace

    def vm_manifest(self, shape: Shape, claims: Mapping[DiskId, str], owners: list[Object]) -> Object:
        return objects.vm_manifest(self._plan, shape, claims, owners)

    def release(self, shape: Shape, vm: Object) -> None:
        """The VM owns the objects of its disks from now on: the disks go with the VM."""
        owner = MACHINE.owner_reference(vm["metadata"]["name"], vm["metadata"]["uid"])
        for disk in shape.disks:
            release_ownership(self._cluster, self.OWNED, self._finished(disk.id), self._plan, to=owner)

    @abstractmethod
    def _finished(self, disk: DiskId) -> Object:
        """The object of a disk whose bytes are complete. Raises StepError: INVALID, if there is none."""
