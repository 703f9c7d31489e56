"""How a step of a disk learns the result of a parallel one: from the disk's object, and from the Workflow.

`hand-over` waits for `convert`. `serve` and `image` need each other.

The object shows success: `image` marks it after it has compared and stamped it (see `completion`).
A failure may leave no object (for example without quota), so each step reads the other's node in the
Workflow: `serve` ends when `image` has failed, `image` when `serve` has. That needs `get` on workflows in the
release namespace, which the chart may not grant: then a timeout decides, and a failure shows a quarter of
an hour late.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import structlog

from steps.model.contract import Exit, StepError
from steps.model.kinds import WORKFLOW, Object
from steps.model.plan import Plan
from steps.model.workflow_nodes import nodes_of
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from steps.targets.cluster.completion import NO_WORKFLOW, DiskObjects, WorkflowRef, is_completed, objects_of
from steps.targets.cluster.serving import PATIENCE

log = structlog.get_logger()

FAILED: Final = ("Failed", "Error")
AWAIT_SECONDS: Final = (0.25, 5.0)
"""The least and the most seconds between two looks at a stage that is waited for."""
AWAIT_SHARE: Final = 0.05
"""The time between two looks, as a share of the time waited so far: what it may add to the downtime."""


class ImageStepWatcher:
    """The `image` step of the same disk, as `serve` sees it."""

    def __init__(
        self,
        plan: Plan,
        disk: str,
        cluster: Cluster,
        objects: DiskObjects,
        *,
        workflow: WorkflowRef = NO_WORKFLOW,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._disk = disk
        self._cluster = cluster
        self._objects = objects
        self._step = StepNode(cluster, "image", disk, workflow)
        self._workflow = workflow
        self._patience = patience
        self._clock = clock
        self._last_seen = clock()

    def is_done(self) -> bool:
        """Whether the target has the disk. If the API server is unavailable, serving continues.

        Raises:
            StepError: SIBLING, if `image` has finally failed; UNREACHABLE, if it never began.
        """
        try:
            return self._is_image_completed() or self._has_step_succeeded()
        except StepError as error:
            if error.code is not Exit.UNREACHABLE or isinstance(error, _NeverStartedError):
                raise
            log.warning(f"cannot check whether the disk is still needed: {error}")
            return False

    def _is_image_completed(self) -> bool:
        found = objects_of(self._cluster, self._objects, self._plan, self._disk)
        if any(is_completed(one, self._objects, self._plan, self._disk, self._workflow) for one in found):
            return True
        failures = [self._objects.failure(one) for one in found]
        if any(not failed for failed in failures):
            self._last_seen = self._clock()
        elif self._clock() - self._last_seen > self._patience:
            raise self._timeout_error(failed=bool(failures))
        return False

    def _timeout_error(self, *, failed: bool) -> StepError:
        minutes = f"{self._patience / 60:g} minutes"
        if failed:
            return self._failure_error(f"its image failed, and no new one was made for {minutes}")
        return _NeverStartedError(
            Exit.UNREACHABLE,
            f"no image of {self._disk} was made",
            f"its image step did not report for {minutes}",
            "check why its pod does not run: quota or parallelism",
        )

    def _failure_error(self, why: str) -> StepError:
        return StepError(
            Exit.SIBLING, f"the image of {self._disk} failed", why, "see that step; a retry runs both"
        )

    def _has_step_succeeded(self) -> bool:
        phase = self._step.phase()
        if phase in FAILED:
            raise self._failure_error("its step has no attempts left")
        return phase == "Succeeded"


class StepNode:
    """The node of a disk's stage in its Workflow, if it can be read."""

    def __init__(self, cluster: Cluster, stage: str, disk: str, workflow: WorkflowRef) -> None:
        self._cluster = cluster
        self._stage = stage
        self._disk = disk
        self._workflow = workflow
        self._visible = bool(workflow.name)

    @property
    def title(self) -> str:
        return f"{self._stage} {self._disk}"

    def phase(self, *, required: bool = False) -> str:
        """The phase over all attempts; empty if it has not begun, or cannot be read.

        Raises:
            StepError: the errors of the API; a missing permission only if the phase is `required`.
        """
        if not self._visible:
            return ""
        try:
            workflow = self._cluster.get(WORKFLOW, *self._workflow) or {}
        except StepError as error:
            if error.code is not Exit.DENIED or required:
                raise
            log.warning(f"{error}; a failed {self._stage} step is noticed late")
            self._visible = False
            return ""
        return phase_of(workflow, self._stage, self._disk)


def await_success(node: StepNode, stop: Stop) -> None:
    """Wait until the stage has succeeded, for as long as that takes.

    Raises:
        StepError: SIBLING, if it has finally failed; DENIED, without the right to read the Workflow.
        Stopped: a stop was requested.
    """
    waited = 0.0
    while (phase := _phase_or_unknown(node)) != "Succeeded":
        if phase in FAILED:
            why = "its step has no attempts left"
            raise StepError(Exit.SIBLING, f"{node.title} failed", why, "see that step; a retry runs both")
        if not waited:
            log.info(f"waiting until {node.title} has succeeded")
        pause = min(max(AWAIT_SECONDS[0], waited * AWAIT_SHARE), AWAIT_SECONDS[1])
        stop.sleep(pause)
        waited += pause


def _phase_or_unknown(node: StepNode) -> str:
    """The phase; empty while the API server does not answer, as the stage may take hours."""
    try:
        return node.phase(required=True)
    except StepError as error:
        if error.code.permanent:
            raise
        log.warning(f"cannot see whether {node.title} has succeeded: {error}")
        return ""


def refuse_without_serve(node: StepNode, disk: str) -> None:
    """Raise StepError (SIBLING) if the `serve` step of the disk has failed: the disk will not be served."""
    try:
        phase = node.phase()
    except StepError as error:
        log.warning(f"cannot check whether the disk will be served: {error}")
        return
    if phase in FAILED:
        raise StepError(
            Exit.SIBLING,
            f"{disk} is not served",
            "its serve step has no attempts left",
            "see that step; a retry runs both",
        )


class _NeverStartedError(StepError):
    """The sibling has not answered; the API server has."""


def phase_of(workflow: Object, stage: str, disk: str) -> str:
    """The phase of a stage of a disk, over all its attempts.

    Attempts are nodes of type Pod under one of type Retry, which shows whether another follows (seen with
    argo-workflows 4.1.2).
    """
    for node in nodes_of(workflow.get("status") or {}).values():
        inputs = (node.get("inputs") or {}).get("parameters") or []
        parameters = {parameter["name"]: parameter.get("value") for parameter in inputs}
        if (node.get("type"), node.get("templateName")) == ("Retry", stage) and parameters.get(
            "disk"
        ) == disk:
            return str(node.get("phase", ""))
    return ""
