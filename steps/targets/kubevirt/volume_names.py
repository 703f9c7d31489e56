"""The names of an import's volumes on KubeVirt: `VM-disk-N`, or one with a short hash if that is taken.

`admit` chooses them before the VM is shut down. A DataVolume of the run, or a claim on which a disk landed,
keeps its name, even after an edit of `spec.targetVirtualMachineName`.
"""

from __future__ import annotations

from typing import Final

from steps.model import names
from steps.model.kinds import CLAIM, DATA_VOLUME
from steps.model.mapping import Shape
from steps.model.plan import DiskWay, Plan
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster
from steps.targets.cluster.ownership import is_of_run, labels_of
from steps.targets.cluster.volume_names import free_name

KINDS: Final = (CLAIM, DATA_VOLUME)
"""An object of any of these kinds takes a volume's name."""


def choose_names(cluster: Cluster, plan: Plan, shape: Shape, previous: Volumes | None = None) -> Volumes:
    """The names of the volumes; `previous` are those of an earlier attempt of the run.

    Raises:
        StepError: CONFLICT, if no name is free.
    """
    lands = plan.target.way is DiskWay.LAND
    labels = {names.LABEL_RUN: plan.run, **({names.LABEL_IMPORTED: "true"} if lands else {})}
    found = cluster.find(CLAIM if lands else DATA_VOLUME, plan.target.namespace, labels)
    existing = {
        labels_of(one).get(names.LABEL_DISK, ""): str(one["metadata"]["name"])
        for one in found
        if is_of_run(one, plan)
    }
    chosen = {
        disk.id: existing.get(disk.id) or free_name(cluster, plan, shape.name, disk, previous, KINDS)
        for disk in shape.disks
    }
    return Volumes(vm=shape.name, names=chosen)
