"""The VM that `preflight` found, read from the Workflow that both `preflight` and `admit` belong to.

`preflight` has no rights on the cluster, so it can write nothing that other pods mount. Argo keeps its
outputs in the Workflow. No pod gets them as an argument: they come from a program that reads foreign data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from steps.model.contract import Exit, StepError
from steps.model.kinds import WORKFLOW
from steps.model.machine import Machine
from steps.model.machine_output import MACHINE_OUTPUT, from_output
from steps.model.workflow_nodes import nodes_of, output_of
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from steps.targets.cluster.completion import WorkflowRef

PATIENCE: Final = 120.0
"""Seconds until the Workflow must show the result: Argo creates the pod of the next step before it writes the
Workflow (argo-workflows workflow/controller/operator.go, `persistUpdates` comes last)."""
POLL: Final = 1.0
STAGE: Final = "preflight"


def read_machine(
    cluster: Cluster,
    workflow: WorkflowRef,
    stop: Stop,
    *,
    patience: float = PATIENCE,
    clock: Callable[[], float] = time.monotonic,
) -> Machine:
    """The VM as `preflight` of this Workflow found it.

    Raises:
        StepError: UNREACHABLE, if the Workflow does not show the result in time; INVALID, if it is not valid;
            the errors of the API.
    """
    end = clock() + patience
    while True:
        status = (cluster.get(WORKFLOW, *workflow) or {}).get("status") or {}
        output = find_output(status, workflow.name)
        if output is not None:
            return from_output(output)
        if clock() >= end:
            raise _missing_error(status, workflow)
        stop.sleep(POLL)


def find_output(status: Mapping[str, Any], workflow: str) -> str | None:
    """The output of `preflight` in a Workflow's status; None before Argo has written it.

    The node's name decides: the node of a stage outside every nested DAG is `WORKFLOW.STAGE`. It stands for
    all attempts, and has the outputs of the one that succeeded.
    """
    for node in nodes_of(status).values():
        if node.get("name") == f"{workflow}.{STAGE}" and node.get("phase") == "Succeeded":
            return output_of(node, MACHINE_OUTPUT)
    return None


def _missing_error(status: Mapping[str, Any], workflow: WorkflowRef) -> StepError:
    where = f"{workflow.namespace}/{workflow.name}"
    if status.get("offloadNodeStatusVersion"):
        return StepError(
            Exit.INVALID,
            f"cannot read the result of preflight from Workflow {where}",
            "Argo keeps its nodes in a database",
            "turn nodeStatusOffLoad off in Argo's configuration for this namespace",
        )
    return StepError(
        Exit.UNREACHABLE,
        f"Workflow {where} does not show the result of preflight",
        f"Argo has not written it for {PATIENCE:g} s",
        "check that Argo's controller runs",
    )
