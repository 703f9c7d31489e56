"""A run whose import was deleted while its source may hold something: clean up, then delete it. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from controller.operator.decide import leftovers
from controller.operator.decide.actions import Action, DeleteRuns, DeleteWorkflows, StopWorkflow
from controller.operator.observe.facts import Facts

STUCK: Final = timedelta(hours=1)
"""A Workflow that has not ended so long after the deletion is deleted: its exit handler, which may wait for
the source, takes less."""


def decide(facts: Facts, now: datetime) -> tuple[Action, ...]:
    """The next actions for the run."""
    running = [name for name, has_ended in facts.other_workflows if not has_ended]
    seen = facts.seen
    if seen is not None and not facts.has_ended:
        running.append(seen.name)
    if running:
        since = facts.request.cleanups.first if facts.request else None
        if since is not None and now - since >= STUCK:
            return (DeleteWorkflows(tuple(running)),)
        return tuple(
            StopWorkflow(name) for name in running if seen is None or name != seen.name or not seen.stopped
        )
    if not leftovers.at_source(facts, now).is_pending:
        return (DeleteRuns((facts.run,)),)
    # Whether the import has succeeded is not known any more, so no VM is stopped or started.
    return tuple(leftovers.next_cleanup(facts, now, keeps_off=True))
