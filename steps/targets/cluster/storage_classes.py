"""The storage class of a disk: that of the request, or a default class of the cluster."""

from __future__ import annotations

from typing import Final

from steps.model.contract import Exit, StepError
from steps.model.kinds import STORAGE_CLASS, Object
from steps.model.machine import Disk
from steps.model.matching import storage_rule
from steps.model.plan import TargetPlan
from steps.runtime.cluster import Cluster

DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
DEFAULT_VIRT_CLASS: Final = "storageclass.kubevirt.io/is-default-virt-class"
"""KubeVirt's and CDI's own default (containerized-data-importer pkg/controller/common/util.go)."""


def storage_class_name(target: TargetPlan, disk: Disk) -> str:
    """The request's class for this disk; empty for the cluster's default."""
    return storage_rule(disk, target).storage_class


def named_class(cluster: Cluster, name: str) -> Object:
    """The class of that name. Raises StepError (NOT_FOUND) if it does not exist."""
    found = cluster.get(STORAGE_CLASS, name)
    if found is None:
        raise StepError(
            Exit.NOT_FOUND,
            f"there is no storage class {name}",
            remedy="set spec.storageClass to a class that exists",
        )
    return found


def default_class(cluster: Cluster, *annotations: str) -> Object:
    """The default class: the newest with the first annotation, else with the next one.

    The newest of several, as in Kubernetes (storage-classes, default class).

    Raises:
        StepError: NOT_FOUND, if no class has any of the annotations.
    """
    classes = cluster.find(STORAGE_CLASS)
    for annotation in annotations:
        marked = [
            item for item in classes if (item["metadata"].get("annotations") or {}).get(annotation) == "true"
        ]
        if marked:
            return max(marked, key=lambda item: str(item["metadata"].get("creationTimestamp", "")))
    raise StepError(
        Exit.NOT_FOUND, "the cluster has no default storage class", remedy="set one in spec.storageClass"
    )
