"""Whether the new VM may go to the namespace that its import names; or why the import waits.

Another namespace than the import's must allow it, by an annotation of its own. A ReferenceGrant does not
count: it allows the use of objects that exist, and here objects are created. No setting allows all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from controller.operator.options import Options
from steps.model.contract import Exit, StepError
from steps.model.grants import is_allowed, refused_namespace
from steps.model.kinds import NAMESPACE
from steps.model.naming import is_namespace
from steps.runtime.cluster import Cluster
from workflows.api.resources import VirtualMachineImport
from workflows.vm_settings import namespace_of

NAMESPACE_NOT_PERMITTED: Final = "TargetNamespaceNotPermitted"
"""Reason of the condition Succeeded of an import that waits."""


@dataclass(frozen=True)
class Wait:
    """Why an import waits: a reason and a message; both are empty if there is nothing to wait for."""

    reason: str = ""
    message: str = ""


NO_WAIT: Final = Wait()


def wait_for_namespace(cluster: Cluster, options: Options, import_: VirtualMachineImport) -> Wait:
    """Nothing, if the VM may go to its namespace. A name that is not valid is reported with the plan.

    The message is the same whether the namespace exists or not.

    Raises:
        StepError: where the API does not answer.
    """
    own = import_.metadata.namespace
    target = namespace_of(import_.spec, own)
    if target == own or not is_namespace(target):
        return NO_WAIT
    if target == options.namespace:
        return _not_permitted(
            f"{target} is the namespace of vmferry itself, which is for imports in it only; "
            "write another spec.virtualMachine.namespace"
        )
    if options.namespaces and target not in options.namespaces:
        listed = ", ".join(options.namespaces)
        return _not_permitted(
            f"namespace {target} is outside the namespaces of this installation ({listed}); write one of "
            "those into spec.virtualMachine.namespace"
        )
    try:
        found = cluster.get(NAMESPACE, target)
    except StepError as error:
        if error.code is not Exit.DENIED:
            raise
        return _not_permitted(f"namespace {target} cannot be read: {error}; upgrade the chart")
    return NO_WAIT if is_allowed(found, own) else _not_permitted(str(refused_namespace(own, target)))


def _not_permitted(message: str) -> Wait:
    return Wait(NAMESPACE_NOT_PERMITTED, message)
