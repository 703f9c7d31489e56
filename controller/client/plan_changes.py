"""Requests to a MigrationPlan in a cluster: the change to the object, and how to see its effect. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from controller.client.changes import ClusterObject, Request
from steps.model.contract import Exit, StepError
from steps.model.kinds import MIGRATION_PLAN, Kind
from workflows.api.annotations import APPROVE, RETRY
from workflows.api.migration_plan import MigrationPlanStatus, PlanPhase

WAITING: Final = (PlanPhase.APPROVAL, PlanPhase.PAUSED, PlanPhase.STOPPED)
"""Phases that an approval of the next wave ends."""


@dataclass(frozen=True)
class PlanObject(ClusterObject):
    """A plan as the API returns it."""

    KIND: ClassVar[Kind] = MIGRATION_PLAN
    STAYS: ClassVar[str] = "the request stays on the plan"

    @property
    def status(self) -> MigrationPlanStatus:
        return MigrationPlanStatus.read(self.raw.get("status"))

    @property
    def is_processed(self) -> bool:
        """Whether the controller has seen the spec."""
        return self.status.observed_generation >= int(self.raw["metadata"].get("generation") or 0)

    @property
    def next_wave(self) -> int:
        """The wave that follows the current one; a stop within the last wave has such a number, too."""
        wave = self.status.wave
        return min((vm.wave for vm in self.status.vms if vm.wave > wave), default=wave + 1)


PlanRequest = Request[PlanObject]
MakePlanRequest = Callable[[PlanObject], PlanRequest]


def retry(seen: PlanObject) -> PlanRequest:
    """Retry the imports that failed or were deleted. Raises StepError (INVALID) if there are none."""
    counts = seen.status.counts
    number = counts.failed + counts.deleted
    if not number:
        cancelled = "; resume a cancelled import with `vmferry resume NAME`" if counts.cancelled else ""
        raise _refusal(seen, "none of its imports has failed", f"nothing to retry{cancelled}")
    return Request(
        f"{seen.title}: retry requested for {number} of {counts.total} VMs",
        {"metadata": {"annotations": {RETRY: "true"}}},
        lambda now: RETRY not in now.annotations,
    )


def approve(wave: int | None) -> MakePlanRequest:
    """Approve a wave; None: the next one, if the plan waits for it."""

    def make(seen: PlanObject) -> PlanRequest:
        status = seen.status
        if wave is None and status.phase not in WAITING:
            reason = f"it does not wait for an approval now: {status.message or 'it has not begun'}"
            raise _refusal(seen, reason, "to approve a wave in advance, add its number")
        chosen = wave or seen.next_wave
        last = max(status.waves, seen.next_wave if status.phase == PlanPhase.STOPPED else 0)
        if not 1 <= chosen <= last:
            raise _refusal(seen, f"it has no wave {chosen}", f"write a number from 1 to {last}")
        if chosen <= status.approved_wave:
            raise _refusal(seen, f"wave {chosen} is approved already", "nothing to do")
        return Request(
            f"{seen.title}: approved wave {chosen}",
            {"metadata": {"annotations": {APPROVE: str(chosen)}}},
            lambda now: APPROVE not in now.annotations,
        )

    return make


def suspend(seen: PlanObject) -> PlanRequest:
    """Start no further import. Raises StepError (INVALID) if the plan is suspended or has succeeded."""
    if seen.spec.get("suspend"):
        raise _refusal(seen, "spec.suspend is true already", "nothing to do")
    if seen.status.phase == PlanPhase.SUCCEEDED:
        raise _refusal(seen, seen.status.message, "nothing to do")
    return Request(
        f"{seen.title}: suspended; imports that have started continue, and no further import starts",
        {"spec": {"suspend": True}},
        lambda now: now.is_processed,
    )


def resume(seen: PlanObject) -> PlanRequest:
    """Reset `spec.suspend`. Raises StepError (INVALID) if it is not set."""
    if not seen.spec.get("suspend"):
        raise _refusal(seen, "spec.suspend is not set", "resume only suspended plans")
    return Request(f"{seen.title}: resumed", {"spec": {"suspend": False}}, lambda now: now.is_processed)


def cancel(seen: PlanObject) -> PlanRequest:
    """Raises StepError (INVALID): nobody could say what a cancelled plan means for its imports."""
    remedy = "suspend it, and cancel single imports; or delete the plan, which deletes its imports"
    raise _refusal(seen, "a plan cannot be cancelled", remedy)


def undo(seen: PlanObject) -> PlanRequest:
    """Raises StepError (INVALID): an undo is a decision about one VM."""
    raise _refusal(seen, "a plan cannot be undone", "undo its imports one by one, by their names")


def _refusal(seen: PlanObject, reason: str, remedy: str) -> StepError:
    return StepError(Exit.INVALID, f"MigrationPlan {seen.title} was not changed", reason, remedy)
