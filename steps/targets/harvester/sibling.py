"""How `serve` learns that it is done: from the image, and where it may look, from the Workflow.

The image says all that goes well: `image` marks it once it has compared and stamped it (see `completed`).
What goes badly may leave no image at all (no quota for it, say), so `serve` also looks at its sibling's node
in the Workflow. That needs `get` on workflows in the release namespace, which the chart may withhold: then
patience decides, and a disk whose `image` has failed is served a quarter of an hour longer than need be.
"""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Callable
from typing import Any

import structlog

from steps.cluster import WORKFLOW, Cluster, Object
from steps.contract import Exit, StepError
from steps.plan import Plan
from steps.targets.harvester.completed import NO_WORKFLOW, images_of, is_completed
from steps.targets.harvester.serving import PATIENCE
from steps.targets.harvester.state import state

log = structlog.get_logger()


class Sibling:
    """The `image` step of the same disk, as `serve` sees it."""

    def __init__(
        self,
        plan: Plan,
        disk: str,
        cluster: Cluster,
        *,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan = plan
        self._disk = disk
        self._cluster = cluster
        self._workflow = NO_WORKFLOW
        self._namespace = ""
        self._sees_workflow = True
        self._patience = patience
        self._clock = clock
        self._seen = clock()

    def look_at(self, workflow: str, namespace: str) -> None:
        """The Workflow of both steps: its `image` is the sibling, and its node says how that stands."""
        self._workflow, self._namespace = workflow, namespace

    def is_done(self) -> bool:
        """Whether the target has the disk. An API server that is away only makes us serve on.

        Raises:
            StepError: SIBLING, when `image` has failed for good; UNREACHABLE, when it never began.
        """
        try:
            return self._image() or self._node()
        except StepError as error:
            if error.code is not Exit.UNREACHABLE or isinstance(error, _NeverBeganError):
                raise
            log.warning(f"cannot look whether the disk is still wanted: {error}")
            return False

    def _image(self) -> bool:
        images = images_of(self._cluster, self._plan, self._disk)
        if any(is_completed(one, self._plan, self._disk, self._workflow) for one in images):
            return True
        failures = [state(one).failed for one in images]
        if any(not failed for failed in failures):
            self._seen = self._clock()
        elif self._clock() - self._seen > self._patience:
            raise self._out_of_patience(failed=bool(failures))
        return False

    def _out_of_patience(self, *, failed: bool) -> StepError:
        minutes = f"{self._patience / 60:g} minutes"
        if failed:
            return self._failed(f"its image failed, and nobody has made it anew for {minutes}")
        return _NeverBeganError(
            Exit.UNREACHABLE,
            f"no image of {self._disk} was made",
            f"its image step was not seen for {minutes}",
            "see why its pod does not run: quota or parallelism",
        )

    def _failed(self, why: str) -> StepError:
        return StepError(
            Exit.SIBLING, f"the image of {self._disk} failed", why, "see there; a retry runs both"
        )

    def _node(self) -> bool:
        phase = self._phase()
        if phase in ("Failed", "Error"):
            raise self._failed("its step has no attempts left")
        return phase == "Succeeded"

    def _phase(self) -> str:
        """The phase of the sibling over all its attempts; empty where that cannot be seen."""
        if not self._workflow or not self._sees_workflow:
            return ""
        try:
            workflow = self._cluster.get(WORKFLOW, self._workflow, self._namespace) or {}
        except StepError as error:
            if error.code is not Exit.DENIED:
                raise
            log.warning(f"{error}; a failed image is noticed late")
            self._sees_workflow = False
            return ""
        return phase_of(workflow, "image", self._disk)


class _NeverBeganError(StepError):
    """Not the API server that did not answer, but the sibling."""


def phase_of(workflow: Object, stage: str, disk: str) -> str:
    """The phase of a stage of a disk, over all its attempts.

    Those are nodes of type Pod under one of type Retry, which alone knows whether there is another (seen with
    argo-workflows 4.1.2).
    """
    for node in _nodes(workflow.get("status") or {}).values():
        given = (node.get("inputs") or {}).get("parameters") or []
        about = {one["name"]: one.get("value") for one in given}
        if (node.get("type"), node.get("templateName")) == ("Retry", stage) and about.get("disk") == disk:
            return str(node.get("phase", ""))
    return ""


def _nodes(status: dict[str, Any]) -> dict[str, Any]:
    """The nodes; Argo packs those of a large Workflow (util/file/fileutil.go: gzip, then base64)."""
    nodes: dict[str, Any] = status.get("nodes") or {}
    if packed := status.get("compressedNodes"):
        try:
            nodes = json.loads(gzip.decompress(base64.b64decode(packed)))
        except (OSError, ValueError):  # another algorithm was chosen: nothing can be seen
            log.debug("the nodes of the Workflow are packed in a way we do not read")
    return nodes
