"""Everything that the next step of a MigrationPlan depends on, read from the API at one time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from controller.operator.observe import fields
from controller.operator.observe.mapping import ResolvedMapping, resolve_mapping
from controller.operator.observe.source import ResolvedSource, resolve_source
from controller.operator.options import Options
from steps.model.document import first_error
from steps.model.kinds import IMPORT, MIGRATION_PLAN, Object
from steps.runtime.cluster import SMALL_PAGE, Cluster, each
from workflows import texts
from workflows.api.migration_plan import MigrationPlan, MigrationPlanStatus, PlannedVm, PlanPhase
from workflows.api.resources import VirtualMachineImport
from workflows.migration.imports import LABEL_PLAN, Seen, is_owned, manifest, see
from workflows.migration.rules import PROBE, reasons, selection_version
from workflows.migration.schedule import IN_FLIGHT, InFlight
from workflows.plan import mapping_reasons


@dataclass(frozen=True)
class PlanFacts:
    """A plan and the objects around it."""

    raw: Object
    plan: MigrationPlan | None
    fault: str
    """Why the plan cannot run: its spec must be corrected."""
    status: MigrationPlanStatus
    imports: Mapping[str, Seen] = field(default_factory=dict)
    """The imports that the plan owns, by name."""
    resolved: ResolvedSource = field(default_factory=ResolvedSource)
    """Known only where VMs must be selected."""
    mapping: ResolvedMapping = field(default_factory=ResolvedMapping)
    """The mapping of the template; known as `resolved`."""
    others: InFlight = field(default_factory=InFlight)
    preferred: str = ""
    other_controller: str | None = None
    """Why nothing may be done: vm-import-controller is active here."""

    @property
    def annotations(self) -> Mapping[str, Any]:
        return fields.annotations_of(self.raw)

    @property
    def generation(self) -> int:
        return int(self.raw["metadata"].get("generation") or 0)

    @property
    def uid(self) -> str:
        return str(self.raw["metadata"]["uid"])

    @property
    def version(self) -> str:
        """A digest of what decides which VMs are selected; empty for a plan that cannot run."""
        return "" if self.plan is None else selection_version(self.plan)

    @property
    def must_select(self) -> bool:
        """Whether the VMs have not been selected with the present spec."""
        return self.status.selection.version != self.version or not self.version


def read_plan(cluster: Cluster, namespace: str, name: str) -> Object | None:
    """The plan; None if it does not exist. Raises StepError where the API does not answer."""
    return cluster.get(MIGRATION_PLAN, name, namespace)


def gather(cluster: Cluster, options: Options, raw: Object, other_controller: str | None) -> PlanFacts:
    """Read what is needed to decide about the plan `raw`.

    Raises:
        StepError: where the API does not answer.
    """
    plan, fault = parse(raw)
    status = MigrationPlanStatus.read(raw.get("status"))
    facts = PlanFacts(
        raw=raw,
        plan=plan,
        fault=fault,
        status=status,
        imports=_imports(cluster, raw, status),
        other_controller=other_controller,
    )
    if plan is None or fault:
        return facts
    if facts.must_select:
        probe = template_import(plan)
        resolved, mapping = resolve_source(cluster, options, probe), ResolvedMapping()
        if not list(mapping_reasons(probe.spec.import_mapping)):
            mapping = resolve_mapping(cluster, options, probe)
        return _with(facts, resolved=resolved, mapping=mapping)
    others, preferred = _other_plans(cluster, plan)
    return _with(facts, others=others, preferred=preferred)


def _with(facts: PlanFacts, **changes: Any) -> PlanFacts:
    return PlanFacts(**{**facts.__dict__, **changes})


def parse(raw: Object) -> tuple[MigrationPlan | None, str]:
    """The plan as a model, and why it cannot run; None if its spec cannot be read."""
    try:
        plan = MigrationPlan.model_validate(raw, by_alias=True, by_name=False)
    except ValidationError as error:
        return None, first_error(error)
    return plan, texts.message(tuple(reasons(plan)))


def template_import(plan: MigrationPlan) -> VirtualMachineImport:
    """An import as the template makes it, in the namespace of the plan.

    It may use the same sources and mappings as every import of that namespace.
    """
    document = manifest(plan, PlannedVm(vm=PROBE, import_=PROBE, row=len(plan.spec.vms)))
    return VirtualMachineImport.model_validate(document, by_alias=True, by_name=False)


def _imports(cluster: Cluster, raw: Object, status: MigrationPlanStatus) -> dict[str, Seen]:
    """The imports that the plan owns: those with its label, and those that it knows by name."""
    metadata = raw["metadata"]
    namespace, uid = str(metadata["namespace"]), str(metadata["uid"])
    found = {
        seen.name: seen
        for import_ in _labelled(cluster, namespace)
        if is_owned(import_, uid)
        for seen in (see(import_),)
    }
    for vm in status.vms:  # somebody may have removed the label
        if vm.uid and vm.import_ not in found:
            import_ = cluster.get(IMPORT, vm.import_, namespace)
            if import_ is not None and is_owned(import_, uid):
                found[vm.import_] = see(import_)
    return found


def _labelled(cluster: Cluster, namespace: str) -> Iterator[Object]:
    """The imports of plans, in small pages: a tenant chooses how large its objects are."""
    more = ""
    while True:
        page = cluster.page(IMPORT, namespace, label=LABEL_PLAN, limit=SMALL_PAGE, more=more)
        yield from page.items
        more = page.more
        if not more:
            return


def _other_plans(cluster: Cluster, plan: MigrationPlan) -> tuple[InFlight, str]:
    """The imports of the other plans of the namespace that count here, and a plan that goes first."""
    hosts: Counter[str] = Counter()
    classes: Counter[str] = Counter()
    preferred = ""
    for raw in each(cluster, MIGRATION_PLAN, plan.metadata.namespace):
        if raw["metadata"]["uid"] == plan.metadata.uid:
            continue
        other, _ = parse(raw)
        if other is None:
            continue
        status = MigrationPlanStatus.read(raw.get("status"))
        is_same = _source_of(other) == _source_of(plan)
        for vm in (vm for vm in status.vms if vm.phase in IN_FLIGHT):
            classes.update(vm.storage_classes)
            hosts.update([vm.host] if is_same and vm.host else [])
        first = (other.spec.priority or 0) > (plan.spec.priority or 0)
        if is_same and first and status.phase == PlanPhase.RUNNING:
            preferred = preferred or f"{MIGRATION_PLAN.kind} {other.metadata.name}"
    return InFlight(hosts, classes), preferred


def _source_of(plan: MigrationPlan) -> tuple[str, str, str]:
    reference = plan.spec.source_cluster
    return str(reference.kind), reference.namespace or plan.metadata.namespace, reference.name
