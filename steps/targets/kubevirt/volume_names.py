"""The names of an import's volumes on KubeVirt: `VM-disk-N`, or one with a short hash if that is taken.

`admit` chooses them before the VM is shut down. A DataVolume of the run keeps its name, even after an edit of
`spec.targetVirtualMachineName`.
"""

from __future__ import annotations

from typing import Final

from steps.model import names
from steps.model.kinds import CLAIM, DATA_VOLUME
from steps.model.mapping import Shape
from steps.model.plan import Plan
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
    found = cluster.find(DATA_VOLUME, plan.target.namespace, {names.LABEL_RUN: plan.run})
    existing = {
        labels_of(one).get(names.LABEL_DISK, ""): str(one["metadata"]["name"])
        for one in found
        if is_of_run(one, plan)
    }
    chosen = {
        disk.id: existing.get(disk.id) or free_name(cluster, plan, shape.name, disk.id, previous, KINDS)
        for disk in shape.disks
    }
    return Volumes(vm=shape.name, names=chosen)
