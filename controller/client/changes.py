"""What a person may ask of an import in a cluster: a change to it, and how one sees its effect. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from steps.model.contract import Exit, StepError
from steps.model.kinds import Object
from steps.model.plan import Gate
from workflows.api.annotations import APPROVE, RETRY
from workflows.api.conditions import find, holds
from workflows.api.status import Condition, ImportStatus
from workflows.status.phase import SUCCEEDED, settled
from workflows.status.watchdog import Kind

STOPPED: Final = ("Cancelling", "Cancelled")
HELD: Final = ("Paused", *STOPPED)
"""Reasons of `Succeeded` of an import that somebody holds or has ended."""


@dataclass(frozen=True)
class Seen:
    """An import as the API has it."""

    raw: Object

    @property
    def title(self) -> str:
        metadata = self.raw["metadata"]
        return f"{metadata['namespace']}/{metadata['name']}"

    @property
    def spec(self) -> Mapping[str, Any]:
        return self.raw.get("spec") or {}

    @property
    def notes(self) -> Mapping[str, str]:
        return self.raw["metadata"].get("annotations") or {}

    @property
    def status(self) -> ImportStatus:
        return ImportStatus.read(self.raw.get("status"))

    @property
    def summary(self) -> Condition:
        return find(self.status.import_conditions, SUCCEEDED) or Condition()

    @property
    def gates(self) -> list[str]:
        """The gates that the approval annotation names."""
        return [word.strip() for word in self.notes.get(APPROVE, "").split(",") if word.strip()]


@dataclass(frozen=True)
class Wish:
    """A change to an import."""

    said: str
    """What was asked for, to be shown."""
    change: Object
    noticed: Callable[[Seen], bool]
    """Whether the controller has done with it what it can."""


Make = Callable[[Seen], Wish]


def retry(seen: Seen) -> Wish:
    """Carry a failed import out again, or one whose Workflow does not move.

    Raises:
        StepError: INVALID, for an import that is done, has not failed, or is held.
    """
    stalled = holds(seen.status.import_conditions, Kind.STALLED)
    if not stalled:
        _refuse_done(seen)
    if seen.summary.status == "Unknown" and not stalled and seen.summary.reason not in HELD:
        raise _refusal(
            seen, f"it has not failed: {seen.status.message}", "a retry is for an import that failed"
        )
    if held := [field for field in ("suspend", "cancel") if seen.spec.get(field)]:
        raise _refusal(seen, f"spec.{held[0]} is set", "say `vmferry resume` instead")
    before = seen.status
    return Wish(
        f"{seen.title}: asked for a retry",
        {"metadata": {"annotations": {RETRY: "true"}}},
        # What hinders a retry is told in the status, and the annotation stays until it can begin.
        lambda now: RETRY not in now.notes or now.status.message != before.message,
    )


def approve(gate: Gate | None) -> Make:
    """Approve of a gate; None: of the one that the import waits at."""

    def make(seen: Seen) -> Wish:
        _refuse_done(seen)
        chosen = gate or _waiting_at(seen)
        if chosen not in (seen.spec.get("approvals") or ()):
            raise _refusal(
                seen, f"its spec.approvals does not name {chosen}", "nothing waits for that approval"
            )
        words = dict.fromkeys([*seen.gates, str(chosen)])
        reached = seen.status.step == f"approve-{chosen}"
        later = "" if reached else f"; {chosen} is not reached yet, the approval is kept until then"
        return Wish(
            f"{seen.title}: approved {chosen}{later}",
            {"metadata": {"annotations": {APPROVE: ",".join(words)}}},
            lambda now: not reached or str(chosen) not in now.gates,
        )

    return make


def suspend(seen: Seen) -> Wish:
    """Begin no further step until it is resumed. Raises StepError (INVALID) for an import that is done."""
    _refuse_done(seen)
    said = f"{seen.title}: suspended; steps at work end, no further one begins"
    return Wish(said, {"spec": {"suspend": True}}, lambda now: now.summary.reason in HELD)


def resume(seen: Seen) -> Wish:
    """Take `spec.suspend` and `spec.cancel` back. Raises StepError (INVALID) where neither is set."""
    held = [field for field in ("suspend", "cancel") if seen.spec.get(field)]
    if not held:
        raise _refusal(seen, "neither spec.suspend nor spec.cancel is set", "there is nothing to resume")
    return Wish(
        f"{seen.title}: resumed",
        {"spec": dict.fromkeys(held, False)},
        lambda now: now.summary.reason not in HELD,
    )


def cancel(seen: Seen) -> Wish:
    """End it early; what is done is kept. Raises StepError (INVALID) for an import that is done."""
    _refuse_done(seen)
    said = f"{seen.title}: cancelled; what is done is kept, `vmferry resume` continues"
    return Wish(said, {"spec": {"cancel": True}}, lambda now: now.summary.reason in STOPPED)


# --- inside


def _refuse_done(seen: Seen) -> None:
    if settled(seen.status):
        raise _refusal(seen, seen.status.message or "it is imported", "there is nothing left to do")


def _waiting_at(seen: Seen) -> Gate:
    gate = seen.status.step.removeprefix("approve-")
    if not seen.status.step.startswith("approve-") or gate not in list(Gate):
        known = " or ".join(Gate)
        raise _refusal(seen, "it waits for no approval now", f"name the one you give beforehand: {known}")
    return Gate(gate)


def _refusal(seen: Seen, why: str, remedy: str) -> StepError:
    return StepError(Exit.INVALID, f"nothing was changed on import {seen.title}", why, remedy)
