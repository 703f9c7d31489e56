"""An import that is being deleted: stop what runs, then release what is held at the source. Pure.

Everything that was created for the run is deleted; the results of a succeeded import stay. An unfinished
import owns its images, claims and VM, so they are garbage collected after our finalizer was removed.

The import is not held until its source is clean, which may take days: its request stays, and
`controller.operator.orphans` continues.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from controller.operator.decide import leftovers
from controller.operator.decide.actions import (
    Action,
    DeleteRuns,
    DeleteWorkflows,
    EmitEvent,
    KeepForCleanup,
    RemoveFinalizer,
    StopWorkflow,
    UpdateStatus,
)
from controller.operator.decide.leftovers import AtSource
from controller.operator.decide.status import deletion_status
from controller.operator.observe.facts import ENDED, Facts
from controller.operator.options import Options
from steps.model import names
from workflows.api.conditions import stamp
from workflows.api.status import ImportStatus
from workflows.status.phase import has_succeeded

SOON: Final = 5.0
"""Seconds between two reconciles while something stops, in case an event is missed."""


def decide(facts: Facts, options: Options, now: datetime) -> tuple[tuple[Action, ...], float]:
    """The actions, and the seconds until the next reconcile."""
    remaining = _remaining_actions(facts, now)
    is_late = _seconds_since_request(facts.status, now) > options.deletion_timeout_seconds
    if facts.has_finalizer and remaining is not None and not is_late:
        return (_status_meanwhile(facts, remaining, now), *remaining), SOON
    actions: list[Action] = []
    runs = facts.runs
    if facts.has_finalizer and remaining is not None:
        found = leftovers.at_source(facts, now)
        actions.append(_timeout_event(facts, options, found))
        if found.is_pending and facts.run in runs:
            actions.append(KeepForCleanup(facts.run))
            runs = tuple(run for run in runs if run != facts.run)
    if runs:
        actions.append(DeleteRuns(runs))
    if facts.has_finalizer or facts.former_finalizers:
        actions.append(RemoveFinalizer())
    return tuple(actions), options.recheck_seconds


def _status_meanwhile(facts: Facts, remaining: tuple[Action, ...], now: datetime) -> UpdateStatus:
    """The status meanwhile. A succeeded import only gets the time, from which the timeout counts."""
    since = facts.status.stopping_since or stamp(now)
    if has_succeeded(facts.status):
        return UpdateStatus(facts.status.model_copy(update={"stopping_since": since}))
    stopping = (facts.seen is not None and not facts.has_ended) or any(
        isinstance(action, StopWorkflow) for action in remaining
    )
    first = "stops the running steps, then " if stopping else ""
    message = f"Deleting: vmferry {first}releases what it holds at the source"
    status = deletion_status(facts, message, now).status
    return UpdateStatus(status.model_copy(update={"stopping_since": since}))


def _remaining_actions(facts: Facts, now: datetime) -> tuple[Action, ...] | None:
    """The actions before everything can be deleted; None when nothing is left to do."""
    running = [name for name, has_ended in facts.other_workflows if not has_ended]
    seen = facts.seen
    if seen is not None and not facts.has_ended and (not seen.stopped or seen.paused):
        running.append(seen.name)  # a suspended one runs no exit handler until it is resumed
    if running:
        return tuple(StopWorkflow(name) for name in running)
    if seen is not None and not facts.has_ended:
        # A stop was requested. A cleanup of an earlier failure must not count as that of this Workflow.
        return (DeleteWorkflows((facts.cleanup.name,)),) if facts.cleanup is not None else ()
    if facts.undo is not None and facts.undo.phase not in ENDED:
        return ()  # the VM at the source may be starting
    if facts.status.workflow is None or not leftovers.at_source(facts, now).is_pending:
        return None
    return tuple(leftovers.next_cleanup(facts, now, at_once=True))


def _timeout_event(facts: Facts, options: Options, found: AtSource) -> EmitEvent:
    run, source = facts.status.workflow, leftovers.where(facts)
    message = (
        f"Workflow {run.name if run else '?'} did not end within {options.deletion_timeout_seconds:g} s; the "
        f"import is deleted anyway. Check {source} for leftovers of the import (an export, a snapshot)"
    )
    if found.is_pending:
        request = f"ConfigMap {options.namespace}/{names.request(facts.run)}"
        message = (
            f"{source} was not released within {options.deletion_timeout_seconds:g} s; the import is deleted "
            f"anyway. It may still hold {leftovers.what(found)}; vmferry continues to release it while "
            f"{request} exists, for at most {leftovers.LIMIT.days} days"
        )
    return EmitEvent("GaveUp", message, warning=True)


def _seconds_since_request(status: ImportStatus, now: datetime) -> float:
    """Seconds since the controller began to stop the import.

    They do not count from the deletion: the controller may have been away since then, or its clock may differ
    from that of the API server, and it must try to stop the import at least once.
    """
    try:
        since = datetime.fromisoformat(status.stopping_since)
        return (now - since).total_seconds()
    except (ValueError, TypeError):  # not yet, or somebody else wrote it
        return 0.0
