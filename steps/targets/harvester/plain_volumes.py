"""The storage of a disk that becomes a plain volume on Harvester, without an image.

The claim is like that of Harvester's own page for a new VM (harvester-ui-extension pkg/harvester/edit/
kubevirt.io.virtualmachine/VirtualMachineVolume/type/volume.vue): a block device, for Longhorn one that
several nodes can use, for LVM one of a node. It has no annotation: only a claim over an image has.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from steps.model.contract import Exit, StepError
from steps.model.kinds import Object
from steps.model.machine import Disk
from steps.model.matching import storage_rule
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from steps.targets.cluster.storage_classes import (
    DEFAULT_CLASS,
    default_class,
    named_class,
    storage_class_name,
)
from steps.targets.harvester.storage import LONGHORN
from steps.targets.landing.storage import VolumeStorage, storage_of_class, with_wanted_modes

LVM: Final = "lvm.driver.harvesterhci.io"
"""The provisioner of Harvester's CSI driver for local volumes."""
BACKING_IMAGE: Final = "backingImage"
"""Parameter of a class of Longhorn whose volumes begin with the content of an image."""
_BLOCK: Final = "Block"


def plain_storage(cluster: Cluster, plan: Plan, disk: Disk) -> VolumeStorage:
    """The storage of the disk: by its row, by the StorageProfile, or as Harvester's own page would choose.

    Raises:
        StepError: NOT_FOUND, if the class, or a default class, does not exist; INVALID, for the class of an
            image.
    """
    name = storage_class_name(plan.target, disk)
    found = named_class(cluster, name) if name else default_class(cluster, DEFAULT_CLASS)
    parameters = found.get("parameters") or {}
    if parameters.get(BACKING_IMAGE):
        raise StepError(
            Exit.INVALID,
            f"{disk.id} cannot be landed on a volume of storage class {found['metadata']['name']}",
            f"its volumes begin with the content of image {parameters[BACKING_IMAGE]}",
            "name a class that is not that of an image, then retry",
        )
    storage = storage_of_class(cluster, found)
    known = _with_known_modes(storage, found) if storage.guessed else storage
    return with_wanted_modes(known, storage_rule(disk, plan.target))


def _with_known_modes(storage: VolumeStorage, found: Object) -> VolumeStorage:
    """The modes of Harvester's page. Longhorn shares a block device only for a live migration."""
    provisioner = found.get("provisioner")
    if provisioner not in (LONGHORN, LVM):
        return storage
    migratable = (found.get("parameters") or {}).get("migratable") == "true"
    shared = provisioner == LONGHORN and migratable
    access_mode = "ReadWriteMany" if shared else "ReadWriteOnce"
    return replace(storage, access_mode=access_mode, volume_mode=_BLOCK, guessed=False)
