"""A run whose import was deleted while its source may still hold something: the facts about it."""

from __future__ import annotations

from controller.operator.observe.facts import Facts, parse, stored_plan, with_run
from controller.operator.observe.source import ResolvedSource, resolve_source
from controller.operator.options import Options
from steps.model.kinds import IMPORT, Object
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from workflows.api.status import Condition, ConditionStatus, ImportPhase, ImportStatus, WorkflowReference
from workflows.status.leftovers import SOURCE_LEFTOVERS


def gather_orphan(cluster: Cluster, options: Options, request: Object) -> Facts | None:
    """The facts about the run of `request`, as those of an import that failed; None without a readable plan.

    Raises:
        StepError: where the API does not answer.
    """
    plan = stored_plan(request)
    if plan is None:
        return None
    raw = _as_import(plan)
    import_, fault = parse(raw)
    by_secret = plan.source.from_secret
    resolved = ResolvedSource() if by_secret else resolve_source(cluster, options, import_)
    facts = Facts(
        raw=raw,
        import_=import_,
        fault=fault,
        status=_as_status(plan, options.namespace),
        resolved=resolved,
    )
    return with_run(cluster, options, facts)


def _as_import(plan: Plan) -> Object:
    """The import as far as the plan tells."""
    of, source = plan.import_, plan.source
    reference = {"kind": str(source.kind), "name": source.name, "namespace": source.namespace}
    return {
        "apiVersion": of.api_version,
        "kind": IMPORT.kind,
        "metadata": {"name": of.name, "namespace": of.namespace, "uid": of.uid},
        "spec": {"virtualMachineName": plan.vm, "sourceCluster": reference},
    }


def _as_status(plan: Plan, namespace: str) -> ImportStatus:
    left = Condition(type=SOURCE_LEFTOVERS, status=ConditionStatus.UNKNOWN)
    return ImportStatus(
        import_status=ImportPhase.FAILED,
        import_conditions=(left,),
        workflow=WorkflowReference(name=plan.run, namespace=namespace),
    )
