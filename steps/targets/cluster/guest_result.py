"""What `inspect` found, read from the Workflow that both `inspect` and `build` belong to.

`inspect` reads what a guest wrote, so it has no rights on the cluster, and nothing that it says becomes a
part of a pod. A result that cannot be read is no reason to give up a VM whose disks are at the target: then
the buses and NIC models are those of the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import structlog

from steps.model.contract import StepError
from steps.model.guest import Guest
from steps.model.guest_output import GUEST_OUTPUT, from_output
from steps.model.kinds import WORKFLOW
from steps.model.workflow_nodes import nodes_of, output_of
from steps.runtime.cluster import Cluster
from steps.targets.cluster.completion import WorkflowRef

log = structlog.get_logger()

STAGE: Final = "inspect"


def read_guest(cluster: Cluster, workflow: WorkflowRef) -> Guest | None:
    """The result of `inspect`; None if it was skipped, or if the result cannot be read.

    Raises:
        StepError: the errors of the API.
    """
    status = (cluster.get(WORKFLOW, *workflow) or {}).get("status") or {}
    text = next(_outputs(status), "")
    if not text:
        log.warning(f"Workflow {workflow.name} shows no result of {STAGE}")
        return None
    try:
        return from_output(text)
    except StepError as error:
        log.warning(str(error))
        return None


def _outputs(status: Mapping[str, Any]) -> Iterator[str]:
    """The outputs of the nodes of the stage that succeeded: the stage, and its attempt."""
    for node in nodes_of(status).values():
        if (node.get("templateName"), node.get("phase")) == (STAGE, "Succeeded"):
            text = output_of(node, GUEST_OUTPUT)
            if text:
                yield text
