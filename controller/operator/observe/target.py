"""The target of an import: Harvester, or KubeVirt without it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from steps.model.contract import StepError
from steps.model.kinds import IMAGE, MACHINE
from steps.model.plan import ClusterTarget, Plan, TargetKind
from steps.runtime.cluster import Cluster
from steps.targets.cluster.admission import refuse_missing_apis
from steps.targets.kubevirt.admission_check import apis

_MARKS: Final = ((IMAGE.group, TargetKind.HARVESTER), (MACHINE.group, TargetKind.KUBEVIRT))
"""API groups by which a cluster shows its target. Harvester serves both."""


def target_kind(
    cluster: Cluster, wanted: ClusterTarget | None, installed: ClusterTarget | None, before: Plan | None
) -> TargetKind:
    """The target: that of the import, of its run, of the installation, or the one that the cluster serves.

    A run keeps the target that it began with, even if Harvester is installed later.

    Raises:
        StepError: where the API does not answer.
    """
    if wanted is not None:
        return TargetKind(wanted)
    if before is not None:
        return before.target.kind
    if installed is not None:
        return TargetKind(installed)
    served = (kind for group, kind in _MARKS if cluster.serves(group))
    return next(served, TargetKind.HARVESTER)  # `admit` says what is missing


def target_reasons(cluster: Cluster, plan: Plan) -> Iterator[str]:
    """Why the cluster cannot be the target of the plan."""
    if plan.target.kind is not TargetKind.KUBEVIRT:
        return
    try:
        refuse_missing_apis(cluster, plan.target.kind, apis(plan))
    except StepError as error:
        if error.code.permanent:
            yield str(error)
            return
        raise
