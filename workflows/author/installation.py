"""Settings of an installation's pods: what the WorkflowTemplate has in addition to the stage table.

The defaults are those of the chart. charts/vmferry/templates/workflowtemplate.yaml replaces them with the
user's values, so that no Workflow has a parameter that a person may want to change: `argo retry -p` runs
everything after preflight again, finished exports included (seen, argo-workflows 4.1.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from steps import __version__
from steps.model.document import Document

DAY: Final = 24 * 60 * 60


class Share(Document):
    """Resource requests of a step's container, and its memory limit. A CPU limit would only slow it."""

    cpu: str = "50m"
    memory: str = "96Mi"
    memory_limit: str = "512Mi"


class Installation(Document):
    """Settings of the WorkflowTemplate and of the Workflows made from it."""

    namespace: str = "vmferry"
    """The release namespace: every Workflow, scratch claim, Service, request and service account."""
    repository: str = "vmferry"
    """Images are REPOSITORY/TARGET:TAG, with the targets of images/Containerfile."""
    tag: str = __version__
    pull_policy: str = "IfNotPresent"
    user: int = 10001
    """User and group of every step: numeric, because only then Kubernetes can verify that it is not root."""
    tmp_size: str = "128Mi"
    shares: Mapping[str, Share] = {
        "export": Share(cpu="250m", memory="256Mi", memory_limit="1Gi"),
        "convert": Share(cpu="250m", memory="256Mi", memory_limit="1Gi"),
        "inspect": Share(cpu="500m", memory="1Gi", memory_limit="1536Mi"),
    }
    """By stage, where it differs from the default."""
    grace_seconds: int = 60
    """Seconds that a step has after SIGTERM to release what it holds at the source."""
    progress_tick: str = "10s"
    """How often Argo's executor passes on a step's progress; its own default is a minute."""
    pending_timeout: str = "30m"
    """How long a pod may wait for its claim, its image or a node before the attempt fails."""
    keep_succeeded: int = 7 * DAY
    keep_failed: int = 30 * DAY
    """Seconds after which a finished Workflow is deleted. Until then a failed one can be retried in place."""

    def share(self, stage: str) -> Share:
        return self.shares.get(stage, Share())
