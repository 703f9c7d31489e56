"""The phase of an import, whether it has ended, and why, from its observed Workflow. Pure.

`importStatus` and its values are those of vm-import-controller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from steps.model.plan import Moment
from workflows.api.conditions import find
from workflows.api.resources import VirtualMachineImport
from workflows.api.status import ConditionStatus, ImportPhase, ImportStatus
from workflows.stages import CHECK, CHECKS, EXIT_STAGES
from workflows.status.messages import failure_message, reason_of, summarize
from workflows.status.nodes import Leaf, Phase
from workflows.status.observed import Observed
from workflows.status.poweredoff import with_note

SUCCEEDED: Final = "Succeeded"
"""Type of the condition that summarizes an import: True, False, or Unknown while it runs."""
GONE: Final = "WorkflowGone"
CANCELLED: Final = "Cancelled"
PARKED: Final = "SuspendedTooLong"
"""Its place was given to other imports. It starts again by itself when it is no longer suspended."""
EXPIRED: Final = "Expired"


@dataclass(frozen=True)
class Outcome:
    """The result of an import so far."""

    phase: ImportPhase
    succeeded: ConditionStatus
    """Status of the condition Succeeded: UNKNOWN while the import runs."""
    reason: str
    step: str
    message: str


def outcome(
    seen: Observed,
    import_: VirtualMachineImport,
    disks: Sequence[str],
    base: ImportStatus,
    holder_names: Mapping[str, str],
    note: str = "",
) -> Outcome:
    """The import's phase, whether it has ended, and why; `holder_names` and `note` as for `summarize`."""
    started = import_.spec.start_virtual_machine is not False
    phase = import_phase(seen, disks, started=started)
    if seen.unreadable:
        phase = _phase_without_nodes(base, succeeded=seen.phase is Phase.SUCCEEDED, started=started)
    if phase is ImportPhase.RUNNING or seen.phase is Phase.SUCCEEDED:
        return _success(ImportPhase.RUNNING if phase is ImportPhase.RUNNING else ImportPhase.CREATED, import_)
    if seen.phase.failed:
        result = _failure(seen, phase, import_)
        if result.succeeded is ConditionStatus.TRUE:
            return result
        return replace(result, message=with_note(result.message, note))
    summary = summarize(seen, import_.spec.source_cluster.name, holder_names, note)
    return Outcome(phase, ConditionStatus.UNKNOWN, summary.reason, summary.step, summary.message)


def has_succeeded(status: ImportStatus) -> bool:
    """Whether the import has succeeded, with its VM started or not to be started. This is final."""
    summary = find(status.import_conditions, SUCCEEDED)
    done = summary is not None and summary.status == ConditionStatus.TRUE
    return status.import_status == ImportPhase.RUNNING or (
        status.import_status == ImportPhase.CREATED and done
    )


def _phase_without_nodes(base: ImportStatus, *, succeeded: bool, started: bool) -> ImportPhase:
    """Without nodes: the phase from the Workflow's end, or else the previous phase."""
    if succeeded:
        return ImportPhase.RUNNING if started else ImportPhase.CREATED
    if base.import_status in (ImportPhase.FAILED, ImportPhase.INVALID):
        return ImportPhase.NEW if base.import_status == ImportPhase.INVALID else ImportPhase.SOURCE_READY
    return ImportPhase(base.import_status) if base.import_status in list(ImportPhase) else ImportPhase.NEW


def _success(phase: ImportPhase, import_: VirtualMachineImport) -> Outcome:
    vm = import_.spec.virtual_machine_name
    if phase is ImportPhase.RUNNING:
        return Outcome(phase, ConditionStatus.TRUE, "VirtualMachineRunning", "", f"{vm} is imported and runs")
    return Outcome(
        phase, ConditionStatus.TRUE, "VirtualMachineReady", "", f"{vm} is imported; it has not been started"
    )


def _failure(seen: Observed, phase: ImportPhase, import_: VirtualMachineImport) -> Outcome:
    cause = seen.blamed
    if seen.stopped and seen.parked:
        message = (
            "Suspended for so long that it was stopped, so that other imports of the source can run; when "
            "spec.suspend is false it resumes from completed work"
        )
        return Outcome(ImportPhase.FAILED, ConditionStatus.FALSE, PARKED, "", message)
    if seen.stopped:
        message = "Cancelled; a retry resumes from completed work"
        return Outcome(ImportPhase.FAILED, ConditionStatus.FALSE, CANCELLED, "", message)
    if cause is not None:
        failed = ImportPhase.INVALID if cause.stage in CHECKS else ImportPhase.FAILED
        return Outcome(failed, ConditionStatus.FALSE, reason_of(cause), cause.title, failure_message(cause))
    exit_handler_ran = any(leaf.stage in EXIT_STAGES for leaf in seen.leaves)
    if phase is ImportPhase.CREATED and exit_handler_ran:  # only the exit handler has failed
        return _success(phase, import_)
    message = seen.error or f"Workflow {seen.name} failed and no step reports why; see the Argo UI"
    return Outcome(ImportPhase.FAILED, ConditionStatus.FALSE, "WorkflowFailed", "", message)


# --- the phase


def import_phase(seen: Observed, disks: Sequence[str], *, started: bool) -> ImportPhase:
    """The phase of the import; of several disks the least advanced one counts."""
    if started and _has_started(seen):
        return ImportPhase.RUNNING
    if is_built(seen, disks):
        return ImportPhase.CREATED
    if disks and seen.landed.issuperset(disks):
        return _images([seen.leaf(seen.last_stage(disk), disk) for disk in disks])
    if any(leaf.stage == "poweroff" or leaf.disk for leaf in seen.leaves):
        return ImportPhase.SOURCE_READY
    return ImportPhase.VALID if _is_checked(seen) else ImportPhase.NEW


def _has_started(seen: Observed) -> bool:
    """Whether the VM runs, and nothing of the import is left: no boot check, no hook after that."""
    last = CHECK if seen.boot_checked else "start"
    after = {f"{Moment.AFTER}-{stage}" for stage in ("start", CHECK)} & seen.points
    return seen.succeeded("start") and seen.succeeded(last) and all(map(seen.succeeded, after))


def is_built(seen: Observed, disks: Sequence[str]) -> bool:
    """Whether the VM exists with all its disks; where disks land, `build` runs while they are copied."""
    landing = [disk for disk in disks if seen.lands(disk)]
    return seen.succeeded("build") and all(seen.succeeded(seen.last_stage(disk), disk) for disk in landing)


def _is_checked(seen: Observed) -> bool:
    """Whether every check has passed; a Workflow of an older template has no `admit`."""
    return seen.succeeded("preflight") and (seen.leaf("admit") is None or seen.succeeded("admit"))


def _images(images: Sequence[Leaf | None]) -> ImportPhase:
    if all(leaf and leaf.phase.succeeded for leaf in images):
        return ImportPhase.IMAGES_READY
    if any(leaf and leaf.phase.failed for leaf in images):
        return ImportPhase.IMAGE_FAILED
    return ImportPhase.IMAGES_SUBMITTED if all(map(has_begun, images)) else ImportPhase.DISKS_EXPORTED


def has_begun(leaf: Leaf | None) -> bool:
    """Whether a step has started."""
    return leaf is not None and (leaf.phase is Phase.RUNNING or leaf.phase.failed or leaf.phase.succeeded)
