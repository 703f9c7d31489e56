"""The names of an import's volumes: `VM-disk-N`, or one with a short hash if that is taken.

`admit` chooses them before the VM is shut down. Existing objects of the run decide: an existing volume
keeps its name, even after an edit of `spec.targetVirtualMachineName`.
"""

from __future__ import annotations

from typing import Final

from steps.model import names
from steps.model.kinds import CLAIM, DATA_VOLUME, IMAGE, Object
from steps.model.machine import DiskId
from steps.model.mapping import Shape
from steps.model.plan import Plan
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster
from steps.targets.cluster.ownership import is_of_run, labels_of
from steps.targets.cluster.volume_names import free_name
from steps.targets.harvester import image_names
from steps.targets.harvester.storage import Backend

KINDS: Final = (CLAIM, DATA_VOLUME, IMAGE)
"""An object of any of these kinds takes a volume's name, also if another program created it: an image of CDI
has a DataVolume and a claim with its name (harvester pkg/image/cdi/cdi.go)."""


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
            chosen[disk.id] = free_name(cluster, plan, shape.name, disk, previous, KINDS)
    return Volumes(vm=shape.name, names=chosen)


def _existing_names(cluster: Cluster, plan: Plan, images: list[Object]) -> dict[DiskId, str]:
    """Names of this run's volumes, except those named like their images."""
    cdi_images = [image for image in images if image["spec"].get("backend") == Backend.CDI]
    claims = cluster.find(CLAIM, plan.target.namespace, {names.LABEL_RUN: plan.run})
    existing = {}
    for resource in (*cdi_images, *claims):
        disk, name = labels_of(resource).get(names.LABEL_DISK, ""), resource["metadata"]["name"]
        # With one namespace for everything, scratch is next to the disks of the VM.
        is_other = name == names.claim(plan.run, disk) or image_names.is_image_name(name, plan.import_, disk)
        if is_of_run(resource, plan) and disk and not is_other:
            existing[disk] = name
    return existing
