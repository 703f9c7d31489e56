"""The claims of landed disks that `hand-over` has finished: `start` starts a VM over no other."""

from __future__ import annotations

from collections.abc import Iterable

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, Object
from steps.model.machine import DiskId
from steps.model.plan import Plan
from steps.model.volumes import Volumes
from steps.runtime.cluster import Cluster
from steps.targets.cluster import markers
from steps.targets.cluster.ownership import foreign_volume_error, is_of_run, labels_of, refuse_deleting


def is_finished(claim: Object, plan: Plan, disk: DiskId) -> bool:
    """Whether `hand-over` has finished the claim for this disk of this run."""
    annotations = claim["metadata"].get("annotations") or {}
    return (
        is_of_run(claim, plan)
        and labels_of(claim).get(names.LABEL_DISK) == disk
        and annotations.get(markers.PUBLISHED) == f"{plan.run}/{disk}"
        and markers.UNFINISHED not in annotations
        and "deletionTimestamp" not in claim["metadata"]
    )


def lands_in_place(cluster: Cluster, plan: Plan, volumes: Volumes, disks: Iterable[DiskId]) -> bool:
    """Whether the claim of one of these disks exists and is not finished.

    So it is where a disk lands in the namespace of its VM, until `hand-over`.
    """
    found = ((disk, cluster.get(CLAIM, chosen_claim(volumes, disk), plan.target.namespace)) for disk in disks)
    return any(claim is not None and not is_finished(claim, plan, disk) for disk, claim in found)


def chosen_claim(volumes: Volumes, disk: DiskId) -> str:
    """The name that `admit` chose for the claim of a disk that lands.

    Raises:
        StepError: INVALID, if there is none.
    """
    if disk not in volumes.names:
        what = f"the name of the volume of {disk} is missing"
        raise StepError(Exit.INVALID, what, remedy="run admit first")
    return volumes.names[disk]


def finished_claim(cluster: Cluster, plan: Plan, disk: DiskId) -> Object:
    """The finished claim of the disk.

    Raises:
        StepError: INVALID, if there is none; BUSY, while its volume is not bound.
    """
    labels = {names.LABEL_RUN: plan.run, names.LABEL_DISK: disk}
    for claim in cluster.find(CLAIM, plan.target.namespace, labels):
        if is_finished(claim, plan, disk):
            _refuse_unbound(claim)
            return claim
    raise StepError(
        Exit.INVALID,
        f"there is no finished volume of {disk}",
        "it was deleted, or its hand-over is not complete",
        "start a new import",
    )


def verify_finished(claim: Object, plan: Plan, disk: DiskId) -> None:
    """Raise StepError unless the claim is the finished one.

    CONFLICT for another claim, BUSY for one that is not bound or is being deleted.
    """
    refuse_deleting(claim)
    if not is_finished(claim, plan, disk):
        raise foreign_volume_error(claim, f"it is not the finished volume of {disk} of this import")
    _refuse_unbound(claim)


def _refuse_unbound(claim: Object) -> None:
    phase = (claim.get("status") or {}).get("phase")
    if phase != "Bound":
        where = f"{claim['metadata']['namespace']}/{claim['metadata']['name']}"
        raise StepError(Exit.BUSY, f"claim {where} is not bound", f"it is {phase or 'new'}")
