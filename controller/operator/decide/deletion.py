"""An import that is being deleted: what runs is stopped, the source gets back what is held of it. Pure.

All that was made for the run goes; what a finished import made stays. Images, claims and the machine of an
unfinished one are owned by it, so the garbage collection takes them once our finalizer is off.
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
from workflows.status.nodes import CLEANUP
from workflows.status.phase import settled

SOON: Final = 5.0
"""Seconds between two looks at what is being stopped, should its events be missed."""


def decide(facts: Facts, options: Options, now: datetime) -> tuple[tuple[Action, ...], float]:
    """The acts, and when to look again (seconds)."""
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
    """What a person sees meanwhile; of an import that is done there is nothing to say."""
    if settled(facts.status):
        return ()
    stopping = (facts.seen is not None and not facts.over) or any(
        isinstance(act, StopWorkflow) for act in waiting
    )
    first = "stops the running steps, then " if stopping else ""
    said = f"Deleting: vmferry {first}releases what it holds at the source"
    return (being_deleted(facts, said, now),)


def _still(facts: Facts) -> tuple[Action, ...] | None:
    """What has to happen before all may go; None when nothing has."""
    running = [name for name, over in facts.others if not over]
    seen = facts.seen
    if seen is not None and not facts.over and not seen.stopped:
        running.append(seen.name)
    if running:
        return tuple(StopWorkflow(name) for name in running)
    if seen is not None and not facts.over:
        return ()  # it has been told to stop
    if facts.status.workflow is None or settled(facts.status) or _gave_back(facts):
        return None
    if facts.back is not None:
        return None if facts.back else ()
    return _give_back(facts)


def _give_back(facts: Facts) -> tuple[Action, ...] | None:
    """The cleanup, if the run's request is still there to say what is to be given back."""
    asked, credentials = facts.asked, facts.origin.credentials
    if asked is None or asked.plan is None:
        return None
    if credentials is None:
        credentials = asked.copied
    return (RunCleanup(asked.plan, credentials),) if credentials is not None else None


def _gave_back(facts: Facts) -> bool:
    """Whether the exit handler has run to its end."""
    leaf = facts.seen.leaf(CLEANUP) if facts.seen else None
    return leaf is not None and leaf.phase.succeeded


def _gave_up(facts: Facts, options: Options) -> EmitEvent:
    run, plan = facts.status.workflow, facts.asked.plan if facts.asked else None
    where = f"{plan.source.kind} {plan.source.namespace}/{plan.source.name}" if plan else "the source"
    said = (
        f"Workflow {run.name if run else '?'} did not end within {options.deletion_timeout_seconds:g} s; the "
        f"import is deleted anyway. Check {where} for leftovers of the import (an export, a snapshot)"
    )
    return EmitEvent("GaveUp", said, warning=True)


def _seconds(facts: Facts, now: datetime) -> float:
    """How long the import has been leaving."""
    try:
        asked = datetime.fromisoformat(facts.leaving)
    except ValueError:
        return 0.0
    return (now - asked.astimezone(UTC)).total_seconds()
