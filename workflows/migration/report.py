"""The status of a plan. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from workflows.api.conditions import put, stamp
from workflows.api.migration_plan import (
    MigrationPlanStatus,
    PlanCounts,
    PlannedVm,
    PlanPhase,
    VmPhase,
)
from workflows.api.status import Condition, ConditionStatus
from workflows.migration.schedule import Schedule
from workflows.status.phase import SUCCEEDED

SELECTED = "Selected"
"""Type of the condition about the last selection of VMs."""
_ENDED = {PlanPhase.SUCCEEDED: ConditionStatus.TRUE, PlanPhase.FAILED: ConditionStatus.FALSE}


def with_schedule(
    before: MigrationPlanStatus, vms: Sequence[PlannedVm], schedule: Schedule, now: datetime
) -> MigrationPlanStatus:
    """The status after a decision."""
    waves = sorted({vm.wave for vm in vms})
    number = sum(wave <= schedule.wave for wave in waves)
    changes = {
        "vms": tuple(vms),
        "counts": counts(vms),
        "wave": schedule.wave,
        "waves": len(waves),
        "progress": f"{number}/{len(waves)}",
        "wave_ended": stamp(schedule.wave_ended) if schedule.wave_ended else "",
    }
    return with_phase(before.model_copy(update=changes), schedule.phase, schedule.message, now)


def with_phase(
    before: MigrationPlanStatus, phase: PlanPhase, message: str, now: datetime
) -> MigrationPlanStatus:
    """The status with another phase, and the condition that summarizes it."""
    status = _ENDED.get(phase, ConditionStatus.UNKNOWN)
    condition = Condition(type=SUCCEEDED, status=status, reason=str(phase), message=message)
    conditions = put(before.conditions, condition, now)
    return before.model_copy(update={"phase": str(phase), "message": message, "conditions": conditions})


def with_selection(
    before: MigrationPlanStatus, reason: str, message: str, now: datetime, *, is_good: bool
) -> MigrationPlanStatus:
    """The status with the condition about the selection of VMs."""
    status = ConditionStatus.TRUE if is_good else ConditionStatus.FALSE
    condition = Condition(type=SELECTED, status=status, reason=reason, message=message)
    return before.model_copy(update={"conditions": put(before.conditions, condition, now)})


def counts(vms: Iterable[PlannedVm]) -> PlanCounts:
    """The number of VMs by phase."""
    by_phase = Counter(vm.phase for vm in vms)
    fields = {phase.lower(): by_phase[phase] for phase in VmPhase}
    return PlanCounts(total=sum(by_phase.values()), **fields)


def ended_at(status: MigrationPlanStatus) -> datetime | None:
    """When the current wave ended; None while it runs, or if the time cannot be read."""
    try:
        found = datetime.fromisoformat(status.wave_ended)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
