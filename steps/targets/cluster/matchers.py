"""Whether the instancetype and the preference of a VM exist, before the VM is shut down at its source."""

from __future__ import annotations

from functools import partial

from steps.model.admission import not_checked, passed
from steps.model.contract import Exit, StepError
from steps.model.kinds import MATCHERS, Object
from steps.model.plan import Plan
from steps.model.vm_settings import Matcher
from steps.runtime.cluster import Cluster
from steps.targets.cluster.admission import AdmissionReport


def check_matchers(report: AdmissionReport, cluster: Cluster, plan: Plan) -> Object | None:
    """Check both, and return the instancetype; None without one, or if it may not be read."""
    settings = plan.target.settings
    found: Object | None = None
    if settings.preference is not None:
        _check(report, cluster, plan, "preference", settings.preference)
    if settings.instancetype is not None:
        found = _check(report, cluster, plan, "instancetype", settings.instancetype)
    return found


def _check(
    report: AdmissionReport, cluster: Cluster, plan: Plan, what: str, matcher: Matcher
) -> Object | None:
    return report.record(what, partial(_find, report, cluster, plan, what, matcher))


def _find(
    report: AdmissionReport, cluster: Cluster, plan: Plan, what: str, matcher: Matcher
) -> Object | None:
    kind = MATCHERS[matcher.kind]
    namespace = plan.target.namespace if kind.namespaced else ""
    try:
        found = cluster.get(kind, matcher.name, namespace)
    except StepError as error:
        if error.code is not Exit.DENIED:
            raise
        report.add(not_checked(what, str(error)))
        return None
    if found is None:
        where = f" in namespace {namespace}" if namespace else ""
        raise StepError(
            Exit.NOT_FOUND,
            f"the {what} {matcher.name} does not exist",
            f"there is no {matcher.kind} of that name{where}",
            f"create it, or correct spec.virtualMachine.{what}, then retry",
        )
    report.add(passed(what))
    return found
