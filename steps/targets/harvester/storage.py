"""Which storage class a disk goes to, and how Harvester keeps an image there."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Final

from steps.model.contract import Exit, StepError
from steps.model.kinds import STORAGE_CLASS
from steps.model.machine import Disk
from steps.model.mapping import disk_rule
from steps.model.plan import TargetPlan
from steps.runtime.cluster import Cluster
from steps.targets.harvester.markers import DEFAULT_CLASS

LONGHORN: Final = "driver.longhorn.io"


class Backend(enum.StrEnum):
    """`spec.backend` of a VirtualMachineImage."""

    BACKING_IMAGE = "backingimage"
    """Longhorn keeps the file; each claim is a copy-on-write child of it."""
    CDI = "cdi"
    """CDI writes the content to a claim, the golden one, which the machine then runs on itself."""


@dataclass(frozen=True)
class Place:
    """Where an image goes."""

    storage_class: str
    backend: Backend


def wanted_class(target: TargetPlan, disk: Disk) -> str:
    """What the request names for this disk; empty for the default of the cluster."""
    return disk_rule(disk, target.disks).storage_class or target.storage_class


def place(cluster: Cluster, wanted: str) -> Place:
    """Where an image for the class `wanted` goes, or for the default class where none is.

    Raises:
        StepError: NOT_FOUND, when there is no such class, or no default.
    """
    if wanted:
        return _named(cluster, wanted)
    name, found = _default(cluster)
    # Left alone, Harvester takes its backing images for any default class, with Longhorn's own defaults in
    # place of a class that is not Longhorn's (pkg/image/common/mutator.go, getSC): disks would not lie there.
    v1 = found.get("parameters", {}).get("dataEngine", "v1") == "v1"
    fits = found.get("provisioner") == LONGHORN and v1
    return Place(name, Backend.BACKING_IMAGE if fits else Backend.CDI)


def _named(cluster: Cluster, name: str) -> Place:
    """As today's controller decides (vm-import-controller, pkg/util/storageclass.go): a class must say v1."""
    found = cluster.get(STORAGE_CLASS, name)
    if found is None:
        raise StepError(
            Exit.NOT_FOUND,
            f"there is no storage class {name}",
            remedy="set spec.storageClass to a class that exists",
        )
    v1 = (found.get("parameters") or {}).get("dataEngine") == "v1"
    fits = found.get("provisioner") == LONGHORN and v1
    return Place(name, Backend.BACKING_IMAGE if fits else Backend.CDI)


def _default(cluster: Cluster) -> tuple[str, dict[str, Any]]:
    """The default class; of several the newest, as Kubernetes decides (storage-classes, default class)."""
    classes = [
        one
        for one in cluster.find(STORAGE_CLASS)
        if (one["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
    ]
    if not classes:
        raise StepError(
            Exit.NOT_FOUND, "the cluster has no default storage class", remedy="set one in spec.storageClass"
        )
    newest = max(classes, key=lambda one: str(one["metadata"].get("creationTimestamp", "")))
    return newest["metadata"]["name"], {**newest, "parameters": newest.get("parameters") or {}}
