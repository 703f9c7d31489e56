"""The names of an import's volumes: `VM-disk-N`, or one with a short hash if that is taken.

`admit` chooses them before the VM is shut down. Existing objects of the run decide: an existing volume
keeps its name, even after an edit of `spec.targetVirtualMachineName`.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, DATA_VOLUME, IMAGE, Object
from steps.model.machine import DiskId
from steps.model.mapping import Shape
from steps.model.plan import Plan
from steps.model.volumes import Volumes, volume_names
from steps.runtime.cluster import Cluster
from steps.targets.harvester import markers
from steps.targets.harvester.ownership import is_of_run, labels_of
from steps.targets.harvester.storage import Backend

MAX_NAMES: Final = 8
"""How many names are tried. The second one contains a hash of the run, so it is free in practice."""


def choose_names(cluster: Cluster, plan: Plan, shape: Shape, previous: Volumes | None = None) -> Volumes:
    """The names of the volumes; `previous` are those of an earlier attempt of the run.

    The same call returns the same names until somebody else takes one of them. A run that has images but no
    choice began under a version that chose none: its volumes keep their old names.

    Raises:
        StepError: CONFLICT, if no name is free.
    """
    images = cluster.find(IMAGE, plan.target.namespace, {names.LABEL_RUN: plan.run})
    existing = _existing_names(cluster, plan, images)
    uses_old_names = bool(images) if previous is None else not previous.names
    chosen = dict(existing)
    for disk in shape.disks:
        if disk.id not in existing and not uses_old_names:
            chosen[disk.id] = _free_name(cluster, plan, shape.name, disk.id, previous)
    return Volumes(vm=shape.name, names=chosen)


def _existing_names(cluster: Cluster, plan: Plan, images: list[Object]) -> dict[DiskId, str]:
    """Names of this run's volumes, except those named like their images."""
    cdi_images = [image for image in images if image["spec"].get("backend") == Backend.CDI]
    claims = cluster.find(CLAIM, plan.target.namespace, {names.LABEL_RUN: plan.run})
    existing = {}
    for resource in (*cdi_images, *claims):
        disk, name = labels_of(resource).get(names.LABEL_DISK, ""), resource["metadata"]["name"]
        if is_of_run(resource, plan) and disk and not markers.is_image_name(name, plan.import_, disk):
            existing[disk] = name
    return existing


def _free_name(cluster: Cluster, plan: Plan, vm: str, disk: DiskId, previous: Volumes | None) -> str:
    kept_names = [previous.names[disk]] if previous and previous.vm == vm and disk in previous.names else []
    candidates = (*kept_names, *islice(volume_names(vm, disk, plan.run), MAX_NAMES))
    for name in candidates:
        if not is_taken(cluster, plan.target.namespace, name):
            return name
    raise StepError(
        Exit.CONFLICT,
        f"no name is free for the volume of {disk}",
        f"volumes or images with these names already exist: {', '.join(dict.fromkeys(candidates))}",
        "delete or rename one of them, or set spec.targetVirtualMachineName, then retry",
    )


def is_taken(cluster: Cluster, namespace: str, name: str) -> bool:
    """Whether any object in the namespace has the volume's name.

    An image of CDI has a DataVolume and a claim with its name (harvester pkg/image/cdi/cdi.go). An object of
    any of these three kinds takes the name, also if another program created it.
    """
    kinds = (CLAIM, DATA_VOLUME, IMAGE)
    return any(cluster.get(kind, name, namespace) is not None for kind in kinds)
