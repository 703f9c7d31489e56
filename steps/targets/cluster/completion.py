"""The mark on a disk's object by the finished `image` step: its run, disk and Workflow.

The object is a VirtualMachineImage on Harvester, and a DataVolume on KubeVirt (see `DiskObjects`).

`image` writes it last, after comparing the bytes. Three readers use this module:

    serve   ends when the `image` step of the same disk and Workflow is done
    image   has nothing to do if an earlier attempt in the same Workflow finished and was then killed
    build   uses the object of the run and the disk, of any Workflow

The Workflow counts because a retry may be another Workflow of the same run. Its `image` compares what the
first one left with the disk on scratch, so its `serve` must run until that is done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from steps.model import names
from steps.model.kinds import Kind, Object
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from steps.targets.cluster import markers
from steps.targets.cluster.ownership import annotations_of


class DiskObjects(NamedTuple):
    """The objects that the disks become at a target, and how to read their state."""

    kind: Kind
    is_imported: Callable[[Object], bool]
    failure: Callable[[Object], str]
    """The final failure of the import of an object; empty without one."""


class WorkflowRef(NamedTuple):
    """The Workflow that runs a step."""

    name: str = ""
    namespace: str = ""


NO_WORKFLOW: Final = WorkflowRef()
"""For steps outside a Workflow, as with `vmferry run`."""


def completion_annotations(plan: Plan, disk: str, workflow: WorkflowRef) -> dict[str, str | None]:
    """The annotations that `image` of this Workflow writes; None removes one."""
    return {markers.PUBLISHED: published_for(plan, disk), markers.PUBLISHED_BY: workflow.name or None}


def published_for(plan: Plan, disk: str) -> str:
    """The part of the mark that all Workflows of a run have in common."""
    return f"{plan.run}/{disk}"


def find_completed(
    cluster: Cluster, objects: DiskObjects, plan: Plan, disk: str, workflow: WorkflowRef
) -> Object | None:
    """The object that the `image` step of this disk and Workflow has finished; None before that.

    Raises:
        StepError: the errors of the API.
    """
    found = objects_of(cluster, objects, plan, disk)
    return next((one for one in found if is_completed(one, objects, plan, disk, workflow)), None)


def objects_of(cluster: Cluster, objects: DiskObjects, plan: Plan, disk: str) -> list[Object]:
    """Every object of a run for a disk, in any state."""
    labels = {names.LABEL_RUN: plan.run, names.LABEL_DISK: disk}
    return cluster.find(objects.kind, plan.target.namespace, labels)


def is_completed(
    resource: Object, objects: DiskObjects, plan: Plan, disk: str, workflow: WorkflowRef
) -> bool:
    """Whether the `image` step of this disk and Workflow has finished this object."""
    annotations = annotations_of(resource)
    return (
        annotations.get(markers.PUBLISHED) == published_for(plan, disk)
        and annotations.get(markers.PUBLISHED_BY, NO_WORKFLOW.name) == workflow.name
        and "deletionTimestamp" not in resource["metadata"]
        and objects.is_imported(resource)
    )
