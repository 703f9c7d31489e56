"""Requests to an import in a cluster: the change to the object, and how to see its effect. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, TypeVar

from steps.model.contract import Exit, StepError
from steps.model.kinds import IMPORT, Kind, Object
from steps.model.plan import Gate
from workflows.api.annotations import APPROVE, RETRY, UNDO
from workflows.api.conditions import find, holds
from workflows.api.status import Condition, ConditionStatus, ImportStatus
from workflows.status.phase import SUCCEEDED, has_succeeded
from workflows.status.restored import UNDOING
from workflows.status.watchdog import AlarmKind

STOPPED: Final = ("Cancelling", "Cancelled")
HELD: Final = ("Paused", *STOPPED)
"""Reasons of `Succeeded` of an import that is suspended or cancelled."""


@dataclass(frozen=True)
class ClusterObject:
    """An object of a kind of vmferry's own as the API returns it."""

    KIND: ClassVar[Kind]
    STAYS: ClassVar[str]
    """What remains of a request that nobody handles."""
    raw: Object

    @property
    def title(self) -> str:
        metadata = self.raw["metadata"]
        return f"{metadata['namespace']}/{metadata['name']}"

    @property
    def spec(self) -> Mapping[str, Any]:
        return self.raw.get("spec") or {}

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.raw["metadata"].get("annotations") or {}


Seen = TypeVar("Seen", bound=ClusterObject)


@dataclass(frozen=True)
class ImportObject(ClusterObject):
    """An import as the API returns it."""

    KIND: ClassVar[Kind] = IMPORT
    STAYS: ClassVar[str] = "the request stays on the import"

    @property
    def status(self) -> ImportStatus:
        return ImportStatus.read(self.raw.get("status"))

    @property
    def summary(self) -> Condition:
        return find(self.status.import_conditions, SUCCEEDED) or Condition()

    @property
    def gates(self) -> list[str]:
        """The gates that the approval annotation names."""
        return [word.strip() for word in self.annotations.get(APPROVE, "").split(",") if word.strip()]


@dataclass(frozen=True)
class Request(Generic[Seen]):
    """A change to an object."""

    message: str
    """The message to show after the request."""
    change: Object
    is_handled: Callable[[Seen], bool]
    """Whether the controller has handled it."""


ImportRequest = Request[ImportObject]
MakeRequest = Callable[[ImportObject], ImportRequest]


def retry(seen: ImportObject) -> ImportRequest:
    """Retry a failed import, or one whose Workflow is stalled.

    Raises:
        StepError: INVALID, for an import that has succeeded, has not failed, or is held.
    """
    stalled = holds(seen.status.import_conditions, AlarmKind.STALLED)
    if not stalled:
        _refuse_done(seen)
    if seen.summary.status == ConditionStatus.UNKNOWN and not stalled and seen.summary.reason not in HELD:
        raise _refusal(seen, f"it has not failed: {seen.status.message}", "retry only imports that failed")
    if fields := [field for field in ("suspend", "cancel") if seen.spec.get(field)]:
        raise _refusal(seen, f"spec.{fields[0]} is set", "run `vmferry resume` instead")
    before = seen.status
    return Request(
        f"{seen.title}: retry requested",
        {"metadata": {"annotations": {RETRY: "true"}}},
        # The status says what prevents a retry. The annotation stays until the retry can start.
        lambda now: RETRY not in now.annotations or now.status.message != before.message,
    )


def approve(gate: Gate | None) -> MakeRequest:
    """Approve a gate; None: the gate at which the import waits."""

    def make(seen: ImportObject) -> ImportRequest:
        _refuse_done(seen)
        chosen = gate or _waiting_at(seen)
        if chosen not in (seen.spec.get("approvals") or ()):
            raise _refusal(
                seen, f"its spec.approvals does not contain {chosen}", "this import needs no such approval"
            )
        words = dict.fromkeys([*seen.gates, str(chosen)])
        reached = seen.status.step == f"approve-{chosen}"
        later = "" if reached else f"; it has not reached {chosen} yet, the approval is kept until then"
        return Request(
            f"{seen.title}: approved {chosen}{later}",
            {"metadata": {"annotations": {APPROVE: ",".join(words)}}},
            lambda now: not reached or str(chosen) not in now.gates,
        )

    return make


def suspend(seen: ImportObject) -> ImportRequest:
    """Start no further step until it is resumed. Raises StepError (INVALID) if it has succeeded."""
    _refuse_done(seen)
    message = f"{seen.title}: suspended; running steps finish, and no further step starts"
    return Request(message, {"spec": {"suspend": True}}, lambda now: now.summary.reason in HELD)


def resume(seen: ImportObject) -> ImportRequest:
    """Reset `spec.suspend` and `spec.cancel`. Raises StepError (INVALID) if neither is set."""
    fields = [field for field in ("suspend", "cancel") if seen.spec.get(field)]
    if not fields:
        reason = "neither spec.suspend nor spec.cancel is set"
        raise _refusal(seen, reason, "resume only suspended or cancelled imports")
    return Request(
        f"{seen.title}: resumed",
        {"spec": dict.fromkeys(fields, False)},
        lambda now: now.summary.reason not in HELD,
    )


def cancel(seen: ImportObject) -> ImportRequest:
    """Cancel it; completed work is kept. Raises StepError (INVALID) if it has succeeded."""
    _refuse_done(seen)
    message = f"{seen.title}: cancelled; completed work is kept, `vmferry resume` continues the import"
    return Request(message, {"spec": {"cancel": True}}, lambda now: now.summary.reason in STOPPED)


def undo(seen: ImportObject) -> ImportRequest:
    """Go back to the VM at its source. Raises StepError (INVALID) if it never began, or still runs."""
    if seen.status.workflow is None:
        raise _refusal(seen, "it has changed nothing", "nothing to undo")
    is_running = seen.summary.status == ConditionStatus.UNKNOWN and seen.summary.reason not in HELD
    if is_running:
        raise _refusal(seen, f"it is running: {seen.status.message}", "cancel it first (vmferry cancel)")
    return Request(
        f"{seen.title}: undo requested",
        {"metadata": {"annotations": {UNDO: "true"}}},
        lambda now: UNDO not in now.annotations or now.summary.reason == UNDOING,
    )


# --- inside


def _refuse_done(seen: ImportObject) -> None:
    if has_succeeded(seen.status):
        raise _refusal(seen, seen.status.message or "it has succeeded", "nothing to do")


def _waiting_at(seen: ImportObject) -> Gate:
    gate = seen.status.step.removeprefix("approve-")
    if not seen.status.step.startswith("approve-") or gate not in list(Gate):
        known = " or ".join(Gate)
        remedy = f"to approve in advance, name the gate: {known}"
        raise _refusal(seen, "it does not wait for an approval now", remedy)
    return Gate(gate)


def _refusal(seen: ImportObject, reason: str, remedy: str) -> StepError:
    return StepError(Exit.INVALID, f"import {seen.title} was not changed", reason, remedy)
