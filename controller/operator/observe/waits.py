"""What a running import waits for outside its Workflow: locks of other imports, and the start of its VM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from controller.operator.options import Options
from steps.model import names
from steps.model.contract import StepError
from steps.model.kinds import MACHINE, WORKFLOW
from steps.runtime.cluster import Cluster
from steps.targets.cluster.vm_objects import describe_vm_status
from workflows.status.locks import ELSEWHERE
from workflows.status.nodes import Phase
from workflows.status.observed import Observed

START: Final = "start"


def read_holder_names(
    cluster: Cluster, options: Options, seen: Observed, namespace: str
) -> Mapping[str, str]:
    """The imports that hold the locks of `seen`, by Workflow; without names from other namespaces.

    Raises:
        StepError: where the API does not answer.
    """
    wanted = {workflow for wait in seen.waits if wait.lock for workflow in wait.holders} - {seen.name}
    names_by_workflow = {seen.name: "this import"}
    for workflow in wanted:
        resource = cluster.get(WORKFLOW, workflow, options.namespace)
        labels = ((resource or {}).get("metadata") or {}).get("labels") or {}
        own = labels.get(names.LABEL_NAMESPACE) == namespace
        names_by_workflow[workflow] = str(labels.get(names.LABEL_NAME, "")) if own else ELSEWHERE
    return names_by_workflow


def read_start_message(cluster: Cluster, seen: Observed, name: str, namespace: str) -> str:
    """KubeVirt's message about the VM while `start` waits for it; may be empty."""
    leaf = seen.leaf(START)
    if leaf is None or leaf.phase is not Phase.RUNNING or not name:
        return ""
    try:
        vm = cluster.get(MACHINE, name, namespace)
    except StepError:  # the step itself checks too, and reports the error
        return ""
    return describe_vm_status(vm.get("status") or {}) if vm is not None else ""
