"""The mark on an image by the finished `image` step: its run, disk and Workflow.

`image` writes it last, after comparing the bytes. Three readers use this module:

    serve   ends when the `image` step of the same disk and Workflow is done
    image   has nothing to do if an earlier attempt in the same Workflow finished and was then killed
    build   uses the image of the run and the disk, of any Workflow

The Workflow counts because a retry may be another Workflow of the same run. Its `image` compares what the
first one left with the disk on scratch, so its `serve` must run until that is done.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from steps.model import names
from steps.model.kinds import IMAGE, Object
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from steps.targets.harvester import markers
from steps.targets.harvester.image_state import image_state
from steps.targets.harvester.ownership import annotations_of


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


def find_completed(cluster: Cluster, plan: Plan, disk: str, workflow: WorkflowRef) -> Object | None:
    """The image that the `image` step of this disk and Workflow has finished; None before that.

    Raises:
        StepError: the errors of the API.
    """
    return next(
        (image for image in images_of(cluster, plan, disk) if is_completed(image, plan, disk, workflow)), None
    )


def images_of(cluster: Cluster, plan: Plan, disk: str) -> list[Object]:
    """Every image of a run for a disk, in any state."""
    labels = {names.LABEL_RUN: plan.run, names.LABEL_DISK: disk}
    return cluster.find(IMAGE, plan.target.namespace, labels)


def is_completed(image: Object, plan: Plan, disk: str, workflow: WorkflowRef) -> bool:
    """Whether the `image` step of this disk and Workflow has finished this image."""
    annotations = annotations_of(image)
    return (
        annotations.get(markers.PUBLISHED) == published_for(plan, disk)
        and annotations.get(markers.PUBLISHED_BY, NO_WORKFLOW.name) == workflow.name
        and "deletionTimestamp" not in image["metadata"]
        and image_state(image).imported
    )
