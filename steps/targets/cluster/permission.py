"""Whether an import may create objects in the namespace of its new VM, if that is not its own.

The controller has checked it before the run. The owner of the namespace may take the grant back at any
time, so each step checks it again before it creates or starts something there. To stop something needs none.
"""

from __future__ import annotations

from steps.model.grants import is_allowed, refused_namespace
from steps.model.kinds import NAMESPACE
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster


def check_permission(cluster: Cluster, plan: Plan) -> None:
    """Raise StepError (INVALID) unless the namespace of the new VM allows those of the import.

    A person who runs `vmferry run` creates objects with their own rights, which need no grant.
    """
    target = plan.target
    if not target.needs_grant:
        return
    if not is_allowed(cluster.get(NAMESPACE, target.namespace), plan.import_.namespace):
        raise refused_namespace(plan.import_.namespace, target.namespace)
