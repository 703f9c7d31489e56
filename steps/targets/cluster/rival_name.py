"""Two imports at a time whose VMs get the same name, which shows only when both VMs are known.

The controller compares the names that imports request. But an import may name its VM by a UUID, and names are
normalised. So `admit` publishes the name of its VM first, and then looks for others: of two that do so at the
same moment at least one sees the other.
"""

from __future__ import annotations

from typing import Final

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CONFIG_MAP, IMPORT, V2V_IMPORT, Object
from steps.model.mapping import Shape
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from steps.targets.cluster.ownership import creation_time, is_of_import, labels_of

_ENDED: Final = ("virtualMachineRunning", "virtualMachineImportInvalid", "VMMigrationFailed")
"""Values of `status.importStatus` of an import that creates no VM now."""


def vm_labels(shape: Shape) -> dict[str, str]:
    """The labels by which others find the name of the VM."""
    return {names.LABEL_VM: shape.name, names.LABEL_VM_NAMESPACE: shape.namespace}


def refuse_rival_name(cluster: Cluster, plan: Plan, shape: Shape, release: str) -> None:
    """Refuse a VM whose name another import in progress has published before.

    Raises:
        StepError: CONFLICT.
    """
    published = cluster.find(CONFIG_MAP, release, vm_labels(shape))
    own = [one for one in published if is_of_import(one, plan)]
    age = min((_age(one) for one in own), default=("", ""))
    for other in published:
        if is_of_import(other, plan) or (own and _age(other) > age):
            continue
        if _is_in_progress(cluster, other):
            namespace, name = labels_of(other)[names.LABEL_NAMESPACE], labels_of(other)[names.LABEL_NAME]
            shown = (
                f"import {name}" if namespace == plan.import_.namespace else "an import in another namespace"
            )
            raise StepError(
                Exit.CONFLICT,
                f"{shown} is creating VirtualMachine {shape.namespace}/{shape.name}",
                "the VM of this import gets the same name",
                "set spec.targetVirtualMachineName, or retry when the other import has ended",
            )


def _age(config_map: Object) -> tuple[str, str]:
    """The order of two: the time has no fractions of a second."""
    return creation_time(config_map), str(config_map["metadata"]["name"])


def _is_in_progress(cluster: Cluster, config_map: Object) -> bool:
    """Whether the import that has published this may create its VM now."""
    labels = labels_of(config_map)
    kind = V2V_IMPORT if labels.get(names.LABEL_API) == V2V_IMPORT.group else IMPORT
    found = cluster.get(kind, labels[names.LABEL_NAME], labels[names.LABEL_NAMESPACE])
    if found is None or names.label_value(found["metadata"]["uid"]) != labels.get(names.LABEL_UID):
        return False
    status = found.get("status") or {}
    if kind is IMPORT:
        return status.get("importStatus") not in _ENDED
    conditions = {one.get("type"): one.get("status") for one in status.get("conditions") or []}
    return conditions.get("Succeeded") not in ("True", "False")
