"""Whether the VM was started again at its source, so that everything that was copied is stale. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pydantic import ValidationError

from steps.model.contract import Exit
from steps.model.restore import Restored, RestoreState
from workflows.api.conditions import find, holds, put
from workflows.api.status import Condition, Conditions, ConditionStatus, ImportStatus
from workflows.stages import RELEASE_SOURCE
from workflows.status.observed import Observed
from workflows.status.phase import SUCCEEDED

RESTORED: Final = "SourcePowerRestored"
"""Type of the condition: True once the exit handler has started the VM again at its source."""
NEW_RUN: Final = "NewRun"
"""Reason of the condition at the start of a new run."""
UNDOING: Final = "Undoing"
UNDONE: Final = "Undone"
"""Reasons of the condition Succeeded while an import is undone, and afterwards."""
_LONGEST: Final = 2000
"""Characters of the message."""


def read_restored(seen: Observed) -> Restored:
    """What the exit handler did about the VM at its source; nothing without a valid document."""
    try:
        return Restored.model_validate_json(seen.output(RELEASE_SOURCE, None, "restored"))
    except ValidationError:
        return Restored()


def restored_in_run(seen: Observed, conditions: Conditions) -> Restored:
    """What was done about the VM at its source in this run.

    A retry in Argo deletes the exit handler's nodes, so the condition remembers what they reported.
    """
    restored = read_restored(seen)
    known = find(conditions, RESTORED)
    if restored.state is RestoreState.NOTHING and known is not None and holds(conditions, RESTORED):
        return Restored(state=RestoreState.STARTED, message=known.message)
    return restored


def with_restored(conditions: Conditions, restored: Restored, now: datetime) -> Conditions:
    """The conditions with the result of the exit handler. Within a run it stays: a retry does not undo it.

    A repeated cleanup may have started the VM that the exit handler of the run could not start.
    """
    if restored.state is RestoreState.NOTHING:
        return conditions
    if restored.state is RestoreState.FAILED and holds(conditions, RESTORED):
        return conditions
    done = restored.state is RestoreState.STARTED
    condition = Condition(
        type=RESTORED,
        status=ConditionStatus.TRUE if done else ConditionStatus.FALSE,
        reason="Restored" if done else "NotRestored",
        message=restored.message[:_LONGEST],
    )
    return put(conditions, condition, now)


def for_new_run(conditions: Conditions, now: datetime) -> Conditions:
    """The conditions at the start of a new run, which copies the VM again."""
    if not holds(conditions, RESTORED):
        return conditions
    message = "A new run reads the VM again, from preflight on"
    return put(
        conditions,
        Condition(type=RESTORED, status=ConditionStatus.FALSE, reason=NEW_RUN, message=message),
        now,
    )


def is_stale(status: ImportStatus) -> bool:
    """Whether nothing that the run copied may be used any more: only a new run from preflight helps."""
    summary = find(status.import_conditions, SUCCEEDED)
    failed_as_stale = summary is not None and summary.reason in (Exit.STALE.word, UNDONE)
    return failed_as_stale or holds(status.import_conditions, RESTORED)


def is_undone(status: ImportStatus) -> bool:
    """Whether a person has undone the import, or it is being undone: its Workflow says nothing any more."""
    summary = find(status.import_conditions, SUCCEEDED)
    return summary is not None and summary.reason in (UNDOING, UNDONE)
