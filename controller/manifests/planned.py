"""A MigrationPlan among the manifests: its source, its VMs, and their imports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from controller.manifests import resolve
from controller.manifests.environment import Environment
from controller.manifests.read import InvalidManifestsError, Manifests
from controller.manifests.resolve import Job, MappingChoice
from steps.model.matching import storage_choice
from steps.model.plan import TargetPlan
from steps.model.selecting import Found, FoundVm, select
from steps.model.sources import SourceKind
from steps.model.wildcards import has_wildcard
from steps.providers import Inventory
from workflows.api.migration_plan import MigrationPlan, PlannedVm
from workflows.api.resources import VirtualMachineImport
from workflows.api.sources import Source
from workflows.api.spec import SourceReference
from workflows.migration import vms
from workflows.migration.imports import manifest
from workflows.migration.rules import PROBE, listing, reasons
from workflows.plan import Invalid, source_plan, target_plan
from workflows.settings import Settings


class Given(NamedTuple):
    """A plan, and what its imports are resolved with."""

    plan: MigrationPlan
    source: Source
    manifests: Manifests
    environment: Environment
    settings: Settings
    mappings: MappingChoice


def given(
    manifests: Manifests, environment: Environment, settings: Settings, mappings: MappingChoice
) -> Given:
    """The only plan of the manifests.

    Raises:
        InvalidManifestsError: with every fault of the plan, or if the manifests also contain imports.
    """
    plans = list(manifests.plans.values())
    if len(plans) != 1:
        names = ", ".join(plan.metadata.name for plan in plans)
        raise InvalidManifestsError([f"there are {len(plans)} plans ({names}): give one of them"])
    (plan,) = plans
    faults = [f"{plan.title}: {reason}" for reason in reasons(plan)]
    if manifests.imports or manifests.v2v_imports:
        faults.append(f"there are {plan.title} and imports: run them with separate commands")
    if faults:
        raise InvalidManifestsError(faults)
    reference = plan.spec.source_cluster
    wanted = SourceReference(
        kind=str(reference.kind), name=reference.name, namespace=reference.namespace or ""
    )
    try:
        source = resolve.source_of(wanted, plan.metadata.namespace, manifests, environment)
    except Invalid as error:
        raise InvalidManifestsError([f"{plan.title}: {reason}" for reason in error.reasons]) from None
    return Given(plan, source, manifests, environment, settings, mappings)


def is_by_wildcard(plan: MigrationPlan) -> bool:
    """Whether the plan may select VMs that nobody has named."""
    return any(not row.name or has_wildcard(row.name) for row in plan.spec.vms)


def selected(
    of: Given, inventory: Inventory, recorded: Sequence[PlannedVm]
) -> tuple[tuple[PlannedVm, ...], Found]:
    """The VMs of the plan; `recorded` are those of an earlier run.

    Raises:
        StepError: UNSUPPORTED, if tags are needed and unknown, or for too many VMs.
        InvalidManifestsError: if a mapping is not given.
    """
    kind = SourceKind(of.source.kind)
    rows = listing(of.plan, source_plan(of.source)).select
    found = select(inventory.machines, kind, rows, inventory.tags_unknown)
    try:
        classes = _classes(of, kind)
        name = of.plan.metadata.name
        return vms.merged(name, of.plan.spec, found.vms, recorded, classes), found
    except Invalid as error:
        raise InvalidManifestsError(error.reasons) from None


def _classes(of: Given, kind: SourceKind) -> Callable[[FoundVm], Iterable[str]]:
    """The storage classes of a VM's disks, by the rows of its import and of the mapping."""
    targets: dict[int, TargetPlan] = {}

    def classes(vm: FoundVm) -> Iterable[str]:
        target = targets.get(vm.row)
        if target is None:
            probe = _import(of.plan, PlannedVm(vm=PROBE, import_=PROBE, row=vm.row))
            mapping = resolve.mapping_of(probe, of.manifests, of.mappings)
            target = targets[vm.row] = target_plan(probe, of.settings, kind, mapping)
        names = (storage_choice(disk.as_disk(), target).rule.storage_class for disk in vm.disks)
        return filter(None, names)

    return classes


def _import(plan: MigrationPlan, vm: PlannedVm) -> VirtualMachineImport:
    return VirtualMachineImport.model_validate(manifest(plan, vm), by_alias=True, by_name=False)


def jobs(of: Given, planned: Iterable[PlannedVm]) -> dict[str, Job]:
    """The imports of the VMs, by name.

    Raises:
        InvalidManifestsError: with every reason of every import.
    """
    resolved: dict[str, Job] = {}
    faults: list[str] = []
    for vm in planned:
        import_ = _import(of.plan, vm)
        try:
            resolved[vm.import_] = resolve.job(
                import_, of.manifests, of.environment, of.settings, of.mappings
            )
        except Invalid as error:
            faults += [f"{of.plan.title}, VM {vm.vm}: {reason}" for reason in error.reasons]
    faults = list(dict.fromkeys(faults)) or list(resolve.clashes(resolved.values()))
    if faults:
        raise InvalidManifestsError(faults)
    return resolved
