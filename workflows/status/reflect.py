"""`reflect()`: the status of an import from its Workflow. Pure: the result depends only on the arguments.

It is recomputed from the Workflow at every event, so that a retry in the Argo UI moves a failed import back
to running. Only these values depend on the previous status: `virtualMachineRunning` is final, percentages
never decrease within a run, and rates need the previous bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

from steps.model.machine import Machine, is_disk_id
from steps.model.mapping import Shape
from steps.model.plan import HookPlan
from steps.model.sources import SourceKind
from workflows.api.conditions import find, put
from workflows.api.resources import VirtualMachineImport
from workflows.api.status import (
    Condition,
    ConditionStatus,
    DiskImportStatus,
    ImportPhase,
    ImportStatus,
    WorkflowReference,
)
from workflows.status import poweredoff
from workflows.status.boot_checked import with_boot_checked
from workflows.status.conditions import disk_conditions, import_conditions, mapping_verified, target_admitted
from workflows.status.hooks import rows as rows_of_hooks
from workflows.status.inspected import guest_inspected, guest_of
from workflows.status.observed import Observed, json_list, observe
from workflows.status.phase import CANCELLED, GONE, PARKED, SUCCEEDED, Outcome, is_built, outcome
from workflows.status.progress import duration, row
from workflows.status.restored import for_new_run, is_undone, restored_in_run, with_restored

PROGRESS: Final = "vmimport.v2v.kubevirt.io/progress"
"""Annotation of the import with its percentage, after kubevirt/vm-import-operator."""
_DISKS: Final = 95
"""Percent for the disks; the rest is for creating and starting the VM."""
_BUILT: Final = 97


def reflect(
    workflow: object,
    import_: VirtualMachineImport,
    previous: ImportStatus | None,
    now: datetime,
    *,
    shape: Shape | None = None,
    machine: Machine | None = None,
    holder_names: Mapping[str, str] = MappingProxyType({}),
    hooks: Sequence[HookPlan] = (),
    hook_objects: Mapping[tuple[str, str], str] = MappingProxyType({}),
) -> ImportStatus:
    """The status of an import whose Workflow is `workflow`; None: it does not exist (any more).

    `shape` gives names, sizes and buses after preflight has found the VM; `machine` is what it found;
    `holder_names` are the imports of the Workflows that hold the locks; `hooks` are those of the import, and
    `hook_objects` the names of their Pods and Workflows by point and disk. Never fails, whatever `workflow`
    is.
    An object that is not a Workflow, or a Workflow of an earlier generation, does not change the status.
    """
    before = previous or ImportStatus()
    if before.import_status == ImportPhase.RUNNING or (workflow is None and is_undone(before)):
        return before
    if workflow is None:
        return status_without_workflow(before, now)
    seen = observe(workflow)
    if seen is None or _is_outdated(seen, before) or _is_of_undone_run(seen, before):
        return before
    run = _reference(seen, import_, before)
    base = _kept_part(before, run)
    kind = _kind(import_)
    restored = restored_in_run(seen, base.import_conditions)
    note = poweredoff.note(machine, kind, seen.leaves, base.powered_off, restored)
    status = _status_of_run(seen, import_, base, run, now, shape, holder_names, note)
    off = poweredoff.powered_off(machine, seen.leaves, base.powered_off, restored)
    conditions = with_restored(status.import_conditions, restored, now)
    changed = {"powered_off": off, "import_conditions": conditions}
    if not seen.unreadable:
        changed["hooks"] = rows_of_hooks(seen, hooks, base.hooks, hook_objects)
    return status.model_copy(update=changed)


def announce(
    import_: VirtualMachineImport, previous: ImportStatus | None, run: WorkflowReference, now: datetime
) -> ImportStatus:
    """The status to write before a Workflow is created, so that a killed controller creates no second one."""
    before = previous or ImportStatus()
    base = _kept_part(before, run)
    if base is not before:
        base = base.model_copy(update={"import_conditions": for_new_run(base.import_conditions, now)})
    result = Outcome(
        ImportPhase.NEW, ConditionStatus.UNKNOWN, "Announced", "", f"Workflow {run.name} will be created"
    )
    generation = import_.metadata.generation
    return _with_outcome(base, result, now).model_copy(
        update={"workflow": run, "observed_generation": generation}
    )


def status_without_workflow(before: ImportStatus, now: datetime) -> ImportStatus:
    """The status of an import whose Workflow does not exist.

    It does not change before the Workflow was created or after the import has ended. But a failed import adds
    that there is nothing left to retry in place, and a running import becomes failed.
    """
    summary = find(before.import_conditions, SUCCEEDED)
    reason = summary.reason if summary else ""
    has_ended = reason in (GONE, CANCELLED, PARKED) or (
        summary is not None and summary.status == ConditionStatus.TRUE
    )
    if before.workflow is None or has_ended or before.import_status in (ImportPhase.NEW, ImportPhase.INVALID):
        return before
    note = gone_note(before.workflow.name)
    if before.import_status == ImportPhase.FAILED:
        note = f"{before.message} ({note})"
    return _with_outcome(
        before, Outcome(ImportPhase.FAILED, ConditionStatus.FALSE, GONE, before.step, note), now
    )


def gone_note(workflow: str) -> str:
    """The message about a Workflow that was deleted."""
    return f"Workflow {workflow} was deleted; a retry creates a new one and resumes"


def progress_value(status: ImportStatus) -> str:
    """The value of the progress annotation: 0 to 100."""
    return str(status.percent)


# --- which run


def _is_outdated(seen: Observed, before: ImportStatus) -> bool:
    """Whether this Workflow was created for an earlier generation than the announced one."""
    run = before.workflow
    return bool(run and run.name != seen.name and run.generation > (seen.generation or run.generation))


def _is_of_undone_run(seen: Observed, before: ImportStatus) -> bool:
    """Whether this Workflow belongs to a run that a person has undone: it is deleted soon."""
    return bool(before.workflow and before.workflow.name == seen.name) and is_undone(before)


def _reference(seen: Observed, import_: VirtualMachineImport, before: ImportStatus) -> WorkflowReference:
    known = before.workflow
    if known and known.name == seen.name:
        return known.model_copy(update={"namespace": seen.namespace or known.namespace})
    generation = seen.generation or import_.metadata.generation
    return WorkflowReference(name=seen.name, namespace=seen.namespace, generation=generation)


def _kept_part(before: ImportStatus, run: WorkflowReference) -> ImportStatus:
    """The kept part of the previous status: everything within a run; across runs the conditions' history.

    A run is a generation: a retry, in place or by a new Workflow, resumes from the scratch volumes.
    """
    if before.workflow and before.workflow.generation == run.generation:
        return before
    return ImportStatus(
        import_conditions=before.import_conditions, planned=before.planned, powered_off=before.powered_off
    )


def _kind(import_: VirtualMachineImport) -> SourceKind | None:
    given = import_.spec.source_cluster.kind.lower()
    return next((kind for kind in SourceKind if kind.lower() == given), None)


# --- what was observed


def _status_of_run(
    seen: Observed,
    import_: VirtualMachineImport,
    base: ImportStatus,
    run: WorkflowReference,
    now: datetime,
    shape: Shape | None,
    holder_names: Mapping[str, str],
    note: str,
) -> ImportStatus:
    disks = disk_names(seen, base, shape)
    result = outcome(seen, import_, disks, base, holder_names, note)
    rows = tuple(_row(disk, seen, base, now, shape) for disk in disks)
    seconds_left = max((row.seconds_left for row in rows), default=0)
    conditions = base.import_conditions
    if not seen.unreadable:
        conditions = import_conditions(conditions, seen, import_, disks, now)
        conditions = with_boot_checked(conditions, seen, now)
    if shape is not None:
        conditions = put(conditions, mapping_verified(shape.concerns), now)
    if admission := target_admitted(seen.output("admit", None, "admission")):
        conditions = put(conditions, admission, now)
    if (guest := guest_of(seen)) is not None:
        conditions = put(conditions, guest_inspected(guest), now)
    status = base.model_copy(
        update={
            "workflow": run,
            "observed_generation": import_.metadata.generation,
            "import_conditions": conditions,
            "disk_import_status": rows,
            "imported_virtual_machine_name": _name(base, import_, shape),
            "percent": min(100, max(base.percent, _percent(rows, seen, result))),
            "eta": duration(seconds_left) if seconds_left else "",
        }
    )
    return _with_outcome(status, result, now)


def _with_outcome(base: ImportStatus, result: Outcome, now: datetime) -> ImportStatus:
    """The status with an outcome in its fields and in the condition Succeeded."""
    summary = Condition(type=SUCCEEDED, status=result.succeeded, reason=result.reason, message=result.message)
    return base.model_copy(
        update={
            "import_status": str(result.phase),
            "step": result.step,
            "message": result.message,
            "import_conditions": put(base.import_conditions, summary, now),
        }
    )


def _row(
    disk: str, seen: Observed, base: ImportStatus, now: datetime, shape: Shape | None
) -> DiskImportStatus:
    disk_row = row(disk, seen, base.disk(disk), now, shape)
    if seen.unreadable:
        return disk_row
    last = seen.leaf(seen.last_stage(disk), disk)
    conditions = disk_conditions(disk_row.disk_conditions, last, now, lands=seen.lands(disk))
    return disk_row.model_copy(update={"disk_conditions": conditions})


def disk_names(seen: Observed, base: ImportStatus, shape: Shape | None) -> tuple[str, ...]:
    """All known disks, by number."""
    names = {disk.id for disk in shape.disks} if shape else set()
    names |= {leaf.disk for leaf in seen.leaves if leaf.disk}
    names |= {row.id for row in base.disk_import_status}
    for stage in ("preflight", "admit"):
        names |= set(_listed_disks(seen.output(stage, None, "disks")))
    return tuple(sorted(names - {""}, key=lambda name: (len(name), name)))


def _listed_disks(text: str) -> list[str]:
    """The disks in a step's output; a step that reads foreign data may have written anything."""
    # A row of steps.model.landing, or an id.
    names = [row.get("disk") if isinstance(row, dict) else row for row in json_list(text)]
    return [str(name) for name in names if is_disk_id(name)]


def _name(base: ImportStatus, import_: VirtualMachineImport, shape: Shape | None) -> str:
    wanted = import_.spec.target_virtual_machine_name
    return shape.name if shape else base.imported_virtual_machine_name or wanted


def _percent(rows: Sequence[DiskImportStatus], seen: Observed, result: Outcome) -> int:
    """Disks by their sizes; with equal weights while a size is unknown."""
    if result.succeeded is ConditionStatus.TRUE:
        return 100
    if is_built(seen, [row.disk for row in rows]):
        return _BUILT
    known = all(row.disk_size > 0 for row in rows)
    sizes = [row.disk_size if known else 1 for row in rows]
    done = sum(size * row.percent for size, row in zip(sizes, rows, strict=True))
    return _DISKS * done // (100 * sum(sizes)) if rows else 0
