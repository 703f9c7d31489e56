"""The Events for a change of an import's status. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from controller.operator.decide.dryrun import PLANNED, PLANNING, REPEATED
from workflows.api.conditions import find, holds
from workflows.api.status import Condition, ConditionStatus, ImportPhase, ImportStatus
from workflows.argo_names import attempt_of
from workflows.status import hooks, watchdog
from workflows.status.boot_checked import BOOT_CHECKED, CHECKING
from workflows.status.inspected import INSPECTED
from workflows.status.leftovers import SOURCE_LEFTOVERS
from workflows.status.marked import MARKED, REMOVED
from workflows.status.messages import FAILURES, RETRYING
from workflows.status.phase import SUCCEEDED
from workflows.status.restored import NEW_RUN, RESTORED


class EventText(NamedTuple):
    """The content of an Event."""

    reason: str
    message: str
    warning: bool = False


REACHED: Final[dict[str, EventText]] = {
    ImportPhase.VALID: EventText("ImportValid", "The VM was found at its source and can be imported"),
    ImportPhase.SOURCE_READY: EventText(
        "SourceReady", "The VM will be shut down, then its disks will be read"
    ),
    ImportPhase.DISKS_EXPORTED: EventText("DisksExported", "Every disk has been read from the source"),
    ImportPhase.IMAGES_SUBMITTED: EventText(
        "DiskImageSubmitted", "The target was asked to create an image of every disk"
    ),
    ImportPhase.IMAGE_FAILED: EventText("DiskImageFailed", "", warning=True),
    ImportPhase.IMAGES_READY: EventText("DiskImagesReady", "The image of every disk is ready"),
    ImportPhase.CREATED: EventText("VirtualMachineCreated", "The VM was created"),
    ImportPhase.RUNNING: EventText("VirtualMachineRunning", "The VM is imported and runs"),
}
"""By importStatus. For a failed image the message is the step's own."""
AGAIN: Final = "completed work is not repeated"
_QUIET: Final = ("Announced", "Running", "Waiting", PLANNING, *watchdog.AlarmKind)
"""Reasons that change with every step, and those that have a condition of their own."""


def events_between(before: ImportStatus, after: ImportStatus) -> Iterator[EventText]:
    """The Events between two statuses of one import, in order."""
    if after.workflow and (before.workflow is None or before.workflow.name != after.workflow.name):
        retry = f"; {AGAIN}" if attempt_of(after.workflow.name) else ""
        message = f"Workflow {after.workflow.namespace}/{after.workflow.name} runs the import{retry}"
        yield EventText("WorkflowNamed", message)
    reached = _phase_event(before, after)
    if reached is not None:
        yield reached
    if reached is None or not reached.warning:  # else the message is the same
        yield from _condition_event(before, after, SUCCEEDED)
    yield from _condition_event(before, after, PLANNED)
    yield from events_of_both_dialects(before, after)


def events_of_both_dialects(before: ImportStatus, after: ImportStatus) -> Iterator[EventText]:
    """The Events for which `v2v.kubevirt.io` has no word of its own."""
    yield from _boot_event(before, after)
    yield from _leftovers_event(before, after)
    yield from _restored_event(before, after)
    yield from _marked_event(before, after)
    yield from _inspected_event(before, after)
    yield from _hook_events(before, after)
    for kind in watchdog.AlarmKind:
        yield from _alarm_event(before, after, kind)


def _phase_event(before: ImportStatus, after: ImportStatus) -> EventText | None:
    """The Event for a new phase, or for an import that resumes after a failure."""
    reached = REACHED.get(after.import_status)
    if reached is None or after.import_status == before.import_status:
        return None
    summary = find(after.import_conditions, SUCCEEDED)
    if after.import_status == ImportPhase.IMAGE_FAILED:
        failed = summary is not None and summary.reason in (*FAILURES, RETRYING)
        return reached._replace(message=after.message) if failed else None  # else it was stopped
    if (
        before.import_status == ImportPhase.FAILED
        and summary is not None
        and summary.status == ConditionStatus.UNKNOWN
    ):
        return EventText("Resumed", f"The import was retried; {AGAIN}")
    if after.workflow and attempt_of(after.workflow.name):
        return reached._replace(message=f"{reached.message} (in a retry: {AGAIN})")
    return reached


def _condition_event(before: ImportStatus, after: ImportStatus, kind: str) -> Iterator[EventText]:
    old, new = find(before.import_conditions, kind), find(after.import_conditions, kind)
    if new is None or _key(old) == _key(new) or new.reason in _QUIET:
        return
    if (
        kind == SUCCEEDED
        and new.status == ConditionStatus.TRUE
        and after.import_status == ImportPhase.RUNNING
    ):
        return  # the Event of the phase says this
    failed = new.reason in FAILURES
    if failed and old is not None and old.reason == new.reason and old.message.endswith(new.message):
        return  # reported when the step failed; now the Workflow has ended too
    yield EventText(
        new.reason,
        new.message,
        warning=failed or new.status == ConditionStatus.FALSE or new.reason in (RETRYING, REPEATED),
    )


def _boot_event(before: ImportStatus, after: ImportStatus) -> Iterator[EventText]:
    """What the boot check has found. A guest that is still watched has no Event."""
    old, new = find(before.import_conditions, BOOT_CHECKED), find(after.import_conditions, BOOT_CHECKED)
    if new is None or _key(old) == _key(new) or new.reason == CHECKING:
        return
    yield EventText(f"Guest{new.reason}", new.message, warning=new.reason != "Booted")


def _leftovers_event(before: ImportStatus, after: ImportStatus) -> Iterator[EventText]:
    """The Event for what the source holds; none for a source that is clean at once."""
    old, new = (find(status.import_conditions, SOURCE_LEFTOVERS) for status in (before, after))
    if new is None or _key(old) == _key(new):
        return
    is_clean = new.status == ConditionStatus.FALSE
    if old is not None or not is_clean:
        yield EventText(SOURCE_LEFTOVERS, new.message, warning=not is_clean)


def _restored_event(before: ImportStatus, after: ImportStatus) -> Iterator[EventText]:
    """The source VM runs again, or should run and does not. A new run has its own Event."""
    old, new = find(before.import_conditions, RESTORED), find(after.import_conditions, RESTORED)
    if new is None or _key(old) == _key(new) or new.reason == NEW_RUN:
        return
    done = new.status == ConditionStatus.TRUE
    reason = "SourcePowerRestored" if done else "SourcePowerNotRestored"
    yield EventText(reason, new.message, warning=not done)


def _marked_event(before: ImportStatus, after: ImportStatus) -> Iterator[EventText]:
    """The VM is marked at its source, or should be and is not."""
    old, new = find(before.import_conditions, MARKED), find(after.import_conditions, MARKED)
    if new is None or _key(old) == _key(new) or new.reason == REMOVED:
        return
    done = new.status == ConditionStatus.TRUE
    yield EventText("SourceMarked" if done else "SourceNotMarked", new.message, warning=not done)


def _inspected_event(before: ImportStatus, after: ImportStatus) -> Iterator[EventText]:
    """What was found on the disks; a warning if it needs a person's attention."""
    old, new = find(before.import_conditions, INSPECTED), find(after.import_conditions, INSPECTED)
    if new is None or _key(old) == _key(new):
        return
    done = new.status == ConditionStatus.TRUE
    needs_attention = not done or "warn: " in new.message
    yield EventText("GuestInspected" if done else "GuestNotInspected", new.message, warning=needs_attention)


def _hook_events(before: ImportStatus, after: ImportStatus) -> Iterator[EventText]:
    """Hooks that have begun or ended since. A veto is the reason of the failed import, too."""
    known = {(row.moment, row.stage, row.disk, row.started): row.phase for row in before.hooks}
    for row in after.hooks:
        if known.get((row.moment, row.stage, row.disk, row.started)) == row.phase:
            continue
        title = " ".join(filter(None, (row.name, row.moment, row.stage, row.disk)))
        if row.phase == hooks.RUNNING:
            yield EventText("HookStarted", f"The hook {title} runs in {row.object_name}")
        elif row.phase == hooks.SUCCEEDED:
            yield EventText("HookSucceeded", f"The hook {title} has succeeded")
        elif row.phase == hooks.IGNORED:
            yield EventText("HookIgnored", row.message, warning=True)


def _alarm_event(before: ImportStatus, after: ImportStatus, kind: str) -> Iterator[EventText]:
    new = find(after.import_conditions, kind)
    if new is not None and holds(after.import_conditions, kind) and not holds(before.import_conditions, kind):
        yield EventText(new.reason, new.message, warning=True)


def _key(condition: Condition | None) -> tuple[str, str]:
    return (condition.status, condition.reason) if condition else ("", "")
