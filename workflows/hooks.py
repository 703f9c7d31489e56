"""Hooks of an import: at which points of its stages they run, and what is wrong with them. Pure.

A point is before or after a stage; its name is that of a node in the Workflow. For a stage of a disk the hook
runs once for each disk, so that disks do not wait for each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from pydantic import Field

from steps.model.document import Document
from steps.model.machine import Machine
from steps.model.naming import DNS_LABEL, shown
from steps.model.plan import Gate, HookPlan, Moment, Plan
from workflows.api.hooks import MOST_HOOKS, HookRow
from workflows.api.import_hook import MOST_SECONDS, ImportHook
from workflows.api.spec import VirtualMachineImportSpec
from workflows.settings import Settings
from workflows.stages import STAGES, Scope, Stage, stages_for

FIELD: Final = "spec.hooks"
DOCUMENT: Final = "hook.json"
"""The file, and the key in a ConfigMap, with what a hook gets."""
DOCUMENT_ENV: Final = "VMFERRY_HOOK_DOCUMENT"
"""The environment variable with the path of that file."""
CONTINUED: Final = "failed, but the import continues: "
"""How the message of a hook begins that failed without a veto."""
SERVE: Final = "serve"
"""It runs as long as `image`, and before and after the same stages. So the points are those of `image`."""
IMAGE: Final = "image"


class Point(NamedTuple):
    """Where a hook runs."""

    moment: Moment
    stage: str

    def __str__(self) -> str:
        return f"{self.moment} {self.stage}"

    @property
    def name(self) -> str:
        """In one word: the name of its node."""
        return f"{self.moment}-{self.stage}"


def has_points(stage: Stage) -> bool:
    """Whether hooks may run before and after a stage.

    Not at the end, where nothing may prevent that the source is released, and not where the controller
    answers.
    """
    return stage.scope is not Scope.EXIT and not stage.answer and stage.name != SERVE


_POINTS: Final[Mapping[str, Point]] = {
    point.name: point
    for stage in STAGES
    if has_points(stage)
    for point in (Point(moment, stage.name) for moment in Moment)
}


def point_of(name: str) -> Point | None:
    """The point with that name, as a node of a Workflow has it; None for a stage."""
    return _POINTS.get(name)


def planned(spec: VirtualMachineImportSpec) -> tuple[HookPlan, ...]:
    """The hooks of an import whose rows are valid (`reasons`)."""
    return tuple(
        HookPlan(moment=Moment.BEFORE if row.before else Moment.AFTER, stage=_stage(row), name=row.name)
        for row in spec.hooks
    )


def reasons(spec: VirtualMachineImportSpec, settings: Settings) -> Iterator[str]:
    """What is wrong with the hooks of an import, whatever its stages are."""
    if not spec.hooks:
        return
    if not settings.hooks:
        yield (
            f"{FIELD} is set, which this installation does not allow; remove it, or ask its administrator to "
            "set the chart's value hooks.allowed"
        )
    if len(spec.hooks) > MOST_HOOKS:
        yield f"{FIELD} has {len(spec.hooks)} rows; write at most {MOST_HOOKS}"
        return
    for row in spec.hooks:
        yield from _row_reasons(row)
    counted = Counter(hook.point for hook in planned(spec))
    for hook in {hook.point: hook for hook in planned(spec)}.values():
        if counted[hook.point] > 1:
            yield (
                f"{FIELD} has {counted[hook.point]} hooks {hook.moment} {shown(hook.stage)}, and a point has "
                "one hook: write one of them at another point, or use a hook with several steps"
            )


def _row_reasons(row: HookRow) -> Iterator[str]:
    if bool(row.before) == bool(row.after):
        yield (
            f"{FIELD}: the row of the hook {shown(row.name)} needs exactly one of before and after; write "
            "the stage there"
        )
    if not DNS_LABEL.fullmatch(row.name):
        yield (
            f"{FIELD}: {shown(row.name)} is not the name of a hook: write the name of an ImportHook, which "
            "has lower-case letters, digits and '-'"
        )


def _stage(row: HookRow) -> str:
    return row.before or row.after or ""


def stage_reasons(plan: Plan, *, embedded: bool) -> Iterator[str]:
    """The hooks before or after stages that this import does not have."""
    rows = stages_for(plan.target.kind, plan.target.way, embedded=embedded, asked=plan.asked_stages)
    unused = {f"approve-{gate}" for gate in Gate if gate not in plan.approvals}
    names = [stage.name for stage in rows if has_points(stage) and stage.name not in unused]
    for hook in plan.hooks:
        if hook.stage in names:
            continue
        why = f"is not a stage of this import; its stages are {', '.join(names)}"
        if hook.stage == SERVE and IMAGE in names:
            why = f"runs as long as {IMAGE}; write {hook.moment}: {IMAGE}"
        elif any(stage.name == hook.stage and stage.scope is Scope.EXIT for stage in rows):
            why = "is a part of the cleanup, which no hook may stop; choose another stage"
        yield f"{FIELD}: {shown(hook.stage)} {why}"


def hook_faults(hook: ImportHook) -> Iterator[str]:
    """What is wrong with a hook as written: the rules of the CRD, for one that no API server has seen."""
    spec = hook.spec
    given = (spec.container is not None, spec.workflow_template is not None, bool(spec.command))
    if sum(given) != 1:
        yield f"{hook.title} must have exactly one of container, workflowTemplate and command"
    if not 1 <= spec.timeout_seconds <= MOST_SECONDS:
        yield f"{hook.title}: timeoutSeconds is {spec.timeout_seconds}: write 1 to {MOST_SECONDS}"
    if spec.container is not None and not spec.container.image:
        yield f"{hook.title}: container.image is empty: write the image"
    if spec.workflow_template is not None and not spec.workflow_template.name:
        yield f"{hook.title}: workflowTemplate.name is empty: write the name of the WorkflowTemplate"


class HookedVm(Document):
    """Names of a VM, at the source or at the target."""

    kind: str
    namespace: str
    name: str


class HookDocument(Document):
    """What a hook gets: where it runs, for which import, and the description of the VM. No credentials."""

    version: str = "1"
    hook: str
    moment: Moment
    stage: str
    disk: str | None = None
    """The disk, at a point of a stage of disks."""
    run: str
    import_: HookedVm = Field(alias="import")
    source: HookedVm
    vm: str
    """The VM at the source, as the import names it."""
    target: HookedVm
    """Its name is empty until `preflight` has found the VM."""
    machine: Machine | None = None
    """The VM as `preflight` has described it; None before that."""

    @classmethod
    def of(
        cls, plan: Plan, hook: HookPlan, disk: str | None, machine: Machine | None, vm_name: str
    ) -> HookDocument:
        """The document for a hook of an import; `vm_name` is the name of the new VM, if it is known."""
        of, source, target = plan.import_, plan.source, plan.target
        return cls(
            hook=hook.name,
            moment=hook.moment,
            stage=hook.stage,
            disk=disk,
            run=plan.run,
            import_=HookedVm(kind="VirtualMachineImport", namespace=of.namespace, name=of.name),
            source=HookedVm(kind=str(source.kind), namespace=source.namespace, name=source.name),
            vm=plan.vm,
            target=HookedVm(kind=str(target.kind), namespace=target.namespace, name=vm_name),
            machine=machine,
        )


def at(plan: Plan, point: str) -> HookPlan | None:
    """The hook of an import at a point; None if it has none there."""
    return next((hook for hook in plan.hooks if hook.point == point), None)


def lines(hooks: Iterable[HookPlan]) -> list[str]:
    """The hooks for a person, a line each."""
    return [f"{hook.moment} {hook.stage}: {hook.name}" for hook in hooks]
