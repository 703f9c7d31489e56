"""A free name for the volume of a disk: `VM-disk-N`, or one with a short hash if that is taken."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

from steps.model.contract import Exit, StepError
from steps.model.kinds import Kind
from steps.model.machine import DiskId
from steps.model.mapping import TargetDisk
from steps.model.plan import Plan
from steps.model.volumes import Volumes, volume_names
from steps.runtime.cluster import Cluster

MAX_NAMES: Final = 8
"""How many names are tried. The second one contains a hash of the run, so it is free in practice."""


def free_name(
    cluster: Cluster,
    plan: Plan,
    vm: str,
    disk: TargetDisk,
    previous: Volumes | None,
    kinds: Sequence[Kind],
) -> str:
    """The first name that no object of `kinds` has. `previous` are those of an earlier attempt of the run.

    Raises:
        StepError: CONFLICT, if no name is free, or if that is taken which the import asks for.
    """
    if disk.name:
        return _wanted_name(cluster, plan, disk, kinds)
    return _first_free(cluster, plan, vm, disk.id, previous, kinds)


def _wanted_name(cluster: Cluster, plan: Plan, disk: TargetDisk, kinds: Sequence[Kind]) -> str:
    for kind in kinds:
        if cluster.get(kind, disk.name, plan.target.namespace) is not None:
            raise StepError(
                Exit.CONFLICT,
                f"the volume of {disk.id} cannot be named {disk.name}",
                f"{kind.kind} {plan.target.namespace}/{disk.name} already exists",
                "delete or rename it, or write another name into spec.diskMapping, then retry",
            )
    return disk.name


def _first_free(
    cluster: Cluster, plan: Plan, vm: str, disk: DiskId, previous: Volumes | None, kinds: Sequence[Kind]
) -> str:
    kept_names = [previous.names[disk]] if previous and previous.vm == vm and disk in previous.names else []
    candidates = (*kept_names, *islice(volume_names(vm, disk, plan.run), MAX_NAMES))
    for name in candidates:
        if all(cluster.get(kind, name, plan.target.namespace) is None for kind in kinds):
            return name
    raise StepError(
        Exit.CONFLICT,
        f"no name is free for the volume of {disk}",
        f"volumes or images with these names already exist: {', '.join(dict.fromkeys(candidates))}",
        "delete or rename one of them, or set spec.targetVirtualMachineName, then retry",
    )
