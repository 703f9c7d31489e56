"""What `admit` checks at a target if disks land on their volumes, after the dry runs of their claims."""

from __future__ import annotations

from collections.abc import Mapping

from steps.model.admission import Finding, warned
from steps.model.contract import Exit, StepError
from steps.model.kinds import PERSISTENT_VOLUME
from steps.model.machine import DiskId
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from steps.targets.landing.storage import VolumeStorage


def check_volume_right(cluster: Cluster, plan: Plan, remedy: str) -> None:
    """The chart grants the right on PersistentVolumes only if disks may land.

    Raises:
        StepError: DENIED, with `remedy`.
    """
    try:
        cluster.get(PERSISTENT_VOLUME, plan.run)  # no volume has this name
    except StepError as error:
        if error.code is not Exit.DENIED:
            raise
        what = "disks cannot be landed on their volumes"
        raise StepError(error.code, what, str(error), remedy) from None


def guessed_modes(storages: Mapping[DiskId, VolumeStorage]) -> list[Finding]:
    """Warnings about classes whose modes no StorageProfile states."""
    classes = sorted({storage.storage_class for storage in storages.values() if storage.guessed})
    return [
        warned(
            "storage",
            f"the StorageProfile of class {name} states no access mode: the disks get ReadWriteOnce volumes "
            "with a filesystem, so the VM cannot be migrated live",
        )
        for name in classes
    ]
