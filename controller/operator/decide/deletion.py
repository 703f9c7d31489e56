"""An import that is being deleted: stop what runs, then release what is held at the source. Pure.

Everything that was created for the run is deleted; the results of a succeeded import stay. An unfinished
import owns its images, claims and VM, so they are garbage collected after our finalizer was removed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from controller.operator.decide.actions import (
    Action,
    DeleteRuns,
    EmitEvent,
    RemoveFinalizer,
    RunCleanup,
    StopWorkflow,
)
from controller.operator.decide.status import being_deleted
from controller.operator.observe.facts import Facts
from controller.operator.options import Options
from workflows.stages import CLEANUP
from workflows.status.phase import has_succeeded

SOON: Final = 5.0
"""Seconds between two reconciles while something stops, in case an event is missed."""


def decide(facts: Facts, options: Options, now: datetime) -> tuple[tuple[Action, ...], float]:
    """The actions, and the seconds until the next reconcile."""
    waiting = _still(facts)
    late = _seconds(facts, now) > options.deletion_timeout_seconds
    if facts.held and waiting is not None and not late:
        return (*_told(facts, waiting, now), *waiting), SOON
    acts: list[Action] = []
    if facts.held and waiting is not None:
        acts.append(_gave_up(facts, options))
    if facts.requests:
        acts.append(DeleteRuns(facts.requests))
    if facts.held:
        acts.append(RemoveFinalizer())
    return tuple(acts), options.recheck_seconds


def _told(facts: Facts, waiting: tuple[Action, ...], now: datetime) -> tuple[Action, ...]:
    """The status meanwhile; that of a succeeded import does not change."""
    if has_succeeded(facts.status):
        return ()
    stopping = (facts.seen is not None and not facts.over) or any(
        isinstance(act, StopWorkflow) for act in waiting
    )
    first = "stops the running steps, then " if stopping else ""
    message = f"Deleting: vmferry {first}releases what it holds at the source"
    return (being_deleted(facts, message, now),)


def _still(facts: Facts) -> tuple[Action, ...] | None:
    """The actions before everything can be deleted; None when nothing is left to do."""
    running = [name for name, over in facts.others if not over]
    seen = facts.seen
    if seen is not None and not facts.over and not seen.stopped:
        running.append(seen.name)
    if running:
        return tuple(StopWorkflow(name) for name in running)
    if seen is not None and not facts.over:
        return ()  # a stop was requested
    if facts.status.workflow is None or has_succeeded(facts.status) or _gave_back(facts):
        return None
    if facts.back is not None:
        return None if facts.back else ()
    return _give_back(facts)


def _give_back(facts: Facts) -> tuple[Action, ...] | None:
    """The cleanup, if the run's request still exists and says what to release."""
    asked, credentials = facts.asked, facts.origin.credentials
    if asked is None or asked.plan is None:
        return None
    if credentials is None:
        credentials = asked.copied
    return (RunCleanup(asked.plan, credentials),) if credentials is not None else None


def _gave_back(facts: Facts) -> bool:
    """Whether the exit handler has succeeded."""
    leaf = facts.seen.leaf(CLEANUP) if facts.seen else None
    return leaf is not None and leaf.phase.succeeded


def _gave_up(facts: Facts, options: Options) -> EmitEvent:
    run, plan = facts.status.workflow, facts.asked.plan if facts.asked else None
    where = f"{plan.source.kind} {plan.source.namespace}/{plan.source.name}" if plan else "the source"
    message = (
        f"Workflow {run.name if run else '?'} did not end within {options.deletion_timeout_seconds:g} s; the "
        f"import is deleted anyway. Check {where} for leftovers of the import (an export, a snapshot)"
    )
    return EmitEvent("GaveUp", message, warning=True)


def _seconds(facts: Facts, now: datetime) -> float:
    """Seconds since the deletion was requested."""
    try:
        asked = datetime.fromisoformat(facts.leaving)
    except ValueError:
        return 0.0
    return (now - asked.astimezone(UTC)).total_seconds()
