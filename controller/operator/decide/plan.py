"""Decides the actions for a MigrationPlan from its facts only. Pure: no clock, no API, no memory.

A status that names imports is written before they are created, so a controller that was killed in between
creates the same ones. What starts, and what the plan waits for, is in `workflows.migration.schedule`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from controller.operator.decide.actions import EmitEvent, RemoveAnnotation
from controller.operator.observe.plan import PlanFacts
from controller.operator.observe.source import REFUSED
from controller.operator.options import Options
from controller.operator.sources.attempts import pause
from steps.model.kinds import Object
from workflows import texts
from workflows.api.annotations import APPROVE, RETRY, SELECT
from workflows.api.migration_plan import (
    MigrationPlan,
    MigrationPlanStatus,
    PlannedVm,
    PlanPhase,
    SelectionStatus,
    VmPhase,
)
from workflows.migration import report, schedule
from workflows.migration.imports import manifest
from workflows.migration.schedule import Moment
from workflows.migration.vms import with_waves

WAIT_SECONDS: Final = 30.0
"""Seconds until a plan that waits for something that causes no event looks again."""
DELETED: Final = "ImportDeleted"
TAKEN: Final = "ImportExists"
"""Reasons of VMs without an import of the plan."""


@dataclass(frozen=True)
class UpdatePlanStatus:
    """Write the status of a plan if it has changed, with an Event for another phase."""

    status: MigrationPlanStatus


@dataclass(frozen=True)
class SelectVms:
    """Let a check pod select the VMs of a plan, or read its result."""

    plan: MigrationPlan


@dataclass(frozen=True)
class DropSelection:
    """End a check pod whose result is not wanted any more."""


@dataclass(frozen=True)
class CreateImport:
    """Create the import of a VM. The status of the plan must name it already."""

    manifest: Object


@dataclass(frozen=True)
class RetryImport:
    """Request a retry of a failed import, with the present template."""

    plan: MigrationPlan
    vm: PlannedVm


PlanAction = (
    UpdatePlanStatus | SelectVms | DropSelection | CreateImport | RetryImport | RemoveAnnotation | EmitEvent
)


@dataclass(frozen=True)
class PlanDecision:
    """The actions, in order, and the maximum seconds until the next reconcile."""

    actions: tuple[PlanAction, ...]
    requeue_seconds: float


def decide(facts: PlanFacts, options: Options, now: datetime) -> PlanDecision:
    """The next actions for a plan that is not being deleted."""
    seen = _with_imports(facts)
    status, requests = _with_requests(facts, seen)
    recheck = options.recheck_seconds
    if facts.plan is None or facts.fault:
        after = report.with_phase(status, PlanPhase.INVALID, facts.fault, now)
        return PlanDecision((DropSelection(), *_written(facts, after, requests)), recheck)
    if facts.other_controller:
        after = report.with_phase(status, PlanPhase.SUSPENDED, facts.other_controller, now)
        return PlanDecision((DropSelection(), *_written(facts, after, requests)), recheck)
    if facts.must_select or not status.selection.version:
        return _select(facts, facts.plan, status, requests, now)
    return _schedule(facts, facts.plan, status, requests, options, now)


def _written(
    facts: PlanFacts, status: MigrationPlanStatus, requests: Sequence[PlanAction]
) -> Iterator[PlanAction]:
    """The status, then what a person asked for: it must be stored before the annotation is removed."""
    yield UpdatePlanStatus(status.model_copy(update={"observed_generation": facts.generation}))
    yield from requests


# --- the state of the VMs


def _with_imports(facts: PlanFacts) -> MigrationPlanStatus:
    """The status with the phases that the imports have now."""
    vms = tuple(_seen(facts, vm) for vm in facts.status.vms)
    return facts.status.model_copy(update={"vms": vms, "counts": report.counts(vms)})


def _seen(facts: PlanFacts, vm: PlannedVm) -> PlannedVm:
    found = facts.imports.get(vm.import_)
    if found is not None:
        return vm.model_copy(
            update={
                "uid": found.uid,
                "phase": str(found.phase),
                "reason": found.reason,
                "message": found.message,
                "retry": vm.retry and found.phase == VmPhase.FAILED,
            }
        )
    if not vm.uid or vm.phase == VmPhase.SUCCEEDED:
        return vm
    return vm.model_copy(
        update={"phase": str(VmPhase.DELETED), "reason": DELETED, "message": "", "retry": False}
    )


def _with_requests(
    facts: PlanFacts, status: MigrationPlanStatus
) -> tuple[MigrationPlanStatus, tuple[PlanAction, ...]]:
    """The status after what a person asks for by annotations, and the actions that follow its storage."""
    done: list[PlanAction] = []
    if RETRY in facts.annotations:
        status = status.model_copy(update={"vms": tuple(map(_retried, status.vms))})
        done.append(RemoveAnnotation(RETRY))
    if SELECT in facts.annotations:
        selection = SelectionStatus(check=status.selection.check)
        status = status.model_copy(update={"selection": selection})
        done.append(RemoveAnnotation(SELECT))
    if APPROVE in facts.annotations:
        text = str(facts.annotations[APPROVE]).strip()
        known = {vm.wave for vm in status.vms}
        if text.isdecimal() and len(text) < 6 and int(text) in {*known, max(known, default=0) + 1}:
            approved = max(status.approved_wave, int(text))
            status = status.model_copy(update={"approved_wave": approved})
        else:
            last = max(known, default=0)
            words = f"{APPROVE} must be the number of a wave, at most {last}"
            done.append(EmitEvent("ApprovalIgnored", words, warning=True))
        done.append(RemoveAnnotation(APPROVE))
    return status, tuple(done)


def _retried(vm: PlannedVm) -> PlannedVm:
    """A VM whose import failed is retried; one without an import gets a new one."""
    if vm.phase == VmPhase.FAILED and vm.uid:
        return vm.model_copy(update={"retry": True})
    if vm.phase in (VmPhase.FAILED, VmPhase.DELETED):
        fresh = {"phase": str(VmPhase.PENDING), "uid": "", "reason": "", "message": ""}
        return vm.model_copy(update=fresh)
    return vm


# --- the selection


def _select(
    facts: PlanFacts,
    plan: MigrationPlan,
    status: MigrationPlanStatus,
    requests: Sequence[PlanAction],
    now: datetime,
) -> PlanDecision:
    wait, is_wrong = _obstacle(facts)
    if wait:
        phase = PlanPhase.INVALID if is_wrong else PlanPhase.SELECTING
        after = report.with_phase(status, phase, wait, now)
        return PlanDecision((DropSelection(), *_written(facts, after, requests)), WAIT_SECONDS)
    if facts.status.observed_generation != facts.generation:  # a changed spec gets its chance at once
        selection = status.selection.model_copy(update={"failures": 0})
        status = status.model_copy(update={"selection": selection})
    left = _seconds_left(status.selection, now)
    if left > 0:
        return PlanDecision(tuple(_written(facts, status, requests)), left + 1)
    if status.selection.failures:
        after = status
    else:
        after = report.with_phase(status, PlanPhase.SELECTING, "The VMs are being selected", now)
    return PlanDecision((*_written(facts, after, requests), SelectVms(plan)), WAIT_SECONDS)


def _obstacle(facts: PlanFacts) -> tuple[str, bool]:
    """Why the VMs cannot be selected now, and whether the plan must be corrected."""
    if facts.resolved.reason:
        return facts.resolved.message, facts.resolved.reason in REFUSED
    if facts.mapping.fault:
        return facts.mapping.fault, True
    return facts.mapping.message, False


def _seconds_left(last: SelectionStatus, now: datetime) -> float:
    """Seconds until a selection that failed is repeated."""
    if not last.failures:
        return 0.0
    try:
        elapsed = (now - datetime.fromisoformat(last.time)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
    return max(pause(last.failures) - elapsed, 0.0) if elapsed >= 0 else 0.0


# --- the schedule


def _schedule(
    facts: PlanFacts,
    plan: MigrationPlan,
    status: MigrationPlanStatus,
    requests: Sequence[PlanAction],
    options: Options,
    now: datetime,
) -> PlanDecision:
    vms = with_waves(plan.spec, status.vms)
    moment = Moment(
        now=now,
        vms=vms,
        approved_wave=status.approved_wave,
        wave_ended=report.ended_at(status),
        others=facts.others,
        preferred=facts.preferred,
    )
    found = schedule.decide(plan.spec, moment)
    after = report.with_schedule(status, vms, found, now)
    by_name = {vm.import_: vm for vm in vms}
    actions: list[PlanAction] = [DropSelection(), *_written(facts, after, requests)]
    actions += (CreateImport(manifest(plan, by_name[name])) for name in found.start)
    if found.retry:
        actions += (RetryImport(plan, by_name[name]) for name in found.retry)
        # A retry that fails at once must not be retried again.
        rest = tuple(_begun(vm) if vm.import_ in found.retry else vm for vm in vms)
        later = after.model_copy(update={"vms": rest, "counts": report.counts(rest)})
        actions += _written(facts, later, ())
    seconds = options.recheck_seconds
    if found.seconds is not None:
        seconds = min(seconds, found.seconds + 1)
    if found.phase in (PlanPhase.PRIORITY, PlanPhase.LIMITS) or found.start:
        seconds = min(seconds, WAIT_SECONDS)  # other plans cause no event here
    return PlanDecision(tuple(actions), seconds)


def _begun(vm: PlannedVm) -> PlannedVm:
    return vm.model_copy(
        update={"retry": False, "phase": str(VmPhase.WAITING), "reason": "RetryRequested", "message": ""}
    )


def created(status: MigrationPlanStatus, uids: Mapping[str, str]) -> MigrationPlanStatus:
    """The status after imports were created; `uids`: those of the imports, by name."""
    waiting = {"phase": str(VmPhase.WAITING)}
    vms = tuple(
        vm.model_copy(update={**waiting, "uid": uids[vm.import_]}) if vm.import_ in uids else vm
        for vm in status.vms
    )
    return status.model_copy(update={"vms": vms, "counts": report.counts(vms)})


def taken(status: MigrationPlanStatus, names: Sequence[str]) -> MigrationPlanStatus:
    """The status after imports with these names turned out to be somebody else's."""
    message = texts.message(
        (
            "a VirtualMachineImport of this name exists and does not belong to this plan: delete it if "
            "nobody needs it",
        ),
    )
    changes = {"phase": str(VmPhase.FAILED), "reason": TAKEN, "message": message}
    vms = tuple(vm.model_copy(update=changes) if vm.import_ in names else vm for vm in status.vms)
    return status.model_copy(update={"vms": vms, "counts": report.counts(vms)})
