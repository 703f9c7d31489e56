"""Whether the namespace of an import may use more scratch, before its Workflow is created.

How much the import needs is known only after preflight: the step that creates the claims checks the limit
again (`steps.targets.cluster.scratch_limit`).
"""

from __future__ import annotations

from controller.operator.observe.facts import SCRATCH_LIMIT, Facts, Rival
from controller.operator.options import Options
from steps.model.contract import Exit, StepError
from steps.model.limits import remedy
from steps.model.quantity import shown
from steps.runtime.cluster import Cluster
from steps.targets.cluster.scratch_limit import VALUE, used_by_others


def shortage(cluster: Cluster, options: Options, facts: Facts) -> Rival | None:
    """Why an import without scratch of its own waits; None if it may start.

    Raises:
        StepError: where the API does not answer.
    """
    most = options.settings.limits.max_scratch_per_namespace
    if most is None or facts.request is not None:
        return None
    namespace = facts.namespace
    try:
        used = used_by_others(cluster, options.namespace, namespace, str(facts.raw["metadata"]["uid"]))
    except StepError as error:
        if error.code is not Exit.DENIED:  # the Role of an older chart
            raise
        return None
    if used < most:
        return None
    message = (
        f"the imports of namespace {namespace} use {shown(used)} of scratch, and the limit is {shown(most)}; "
        "this import starts when some of them are done. To start it earlier, delete failed imports, or "
        f"{remedy(VALUE)}"
    )
    return Rival(SCRATCH_LIMIT, message)
