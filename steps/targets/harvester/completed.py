"""The mark on an image that says whose `image` step is done with it: of which run, disk and Workflow.

`image` writes it last, after it has compared the bytes. Three readers ask this module:

    serve   ends when the `image` step beside it, in the same Workflow, is done
    image   has nothing to do when an attempt before it, in the same Workflow, was done and then killed
    build   takes the image of the run and the disk, whichever Workflow made it

The Workflow counts because a retry may be another Workflow over the same run. Its `image` compares what the
first one left with the disk on scratch, so its `serve` must be there until that is done.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from steps.model import names
from steps.model.kinds import IMAGE, Object
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from steps.targets.harvester import markers
from steps.targets.harvester.ownership import annotations_of
from steps.targets.harvester.state import state


class WorkflowRef(NamedTuple):
    """The Workflow that runs a step."""

    name: str = ""
    namespace: str = ""


NO_WORKFLOW: Final = WorkflowRef()
"""Where none runs the steps, as with `vmferry run`."""


def mark(plan: Plan, disk: str, workflow: WorkflowRef) -> dict[str, str | None]:
    """The annotations that `image` of this Workflow writes; None takes one off."""
    return {markers.PUBLISHED: published_for(plan, disk), markers.PUBLISHED_BY: workflow.name or None}


def published_for(plan: Plan, disk: str) -> str:
    """The part of the mark that every Workflow of a run writes alike."""
    return f"{plan.run}/{disk}"


def completed(cluster: Cluster, plan: Plan, disk: str, workflow: WorkflowRef) -> Object | None:
    """The image with which the `image` step of this disk and Workflow is done; None while it is not.

    Raises:
        StepError: what the API says.
    """
    return next(
        (one for one in images_of(cluster, plan, disk) if is_completed(one, plan, disk, workflow)), None
    )


def images_of(cluster: Cluster, plan: Plan, disk: str) -> list[Object]:
    """Every image that a run has for a disk, in whatever state."""
    labels = {names.LABEL_RUN: plan.run, names.LABEL_DISK: disk}
    return cluster.find(IMAGE, plan.target.namespace, labels)


def is_completed(image: Object, plan: Plan, disk: str, workflow: WorkflowRef) -> bool:
    """Whether the `image` step of this disk and Workflow is done with this image."""
    notes = annotations_of(image)
    return (
        notes.get(markers.PUBLISHED) == published_for(plan, disk)
        and notes.get(markers.PUBLISHED_BY, NO_WORKFLOW.name) == workflow.name
        and "deletionTimestamp" not in image["metadata"]
        and state(image).imported
    )
