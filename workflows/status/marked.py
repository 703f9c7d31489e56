"""Whether the VM is marked at its source after a success. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from steps.model.restore import Restored
from steps.model.source_mark import MarkState
from workflows.api.conditions import find, put
from workflows.api.status import Condition, Conditions, ConditionStatus

MARKED: Final = "SourceMarked"
"""Type of the condition: True once the VM is marked at its source, False while a part of it is missing."""
NOT_MARKED: Final = "NotMarked"
REMOVED: Final = "Removed"
_LONGEST: Final = 2000
"""Characters of the message."""
_REMOVED_MESSAGE: Final = "An undo has removed the mark of the VM at its source"


def with_marked(conditions: Conditions, restored: Restored, now: datetime) -> Conditions:
    """The conditions with what the exit handler did about the mark; unchanged if nothing was to be done."""
    if restored.mark is MarkState.NOTHING:
        return conditions
    done = restored.mark is MarkState.MARKED
    reasons = {MarkState.MARKED: "Marked", MarkState.FAILED: NOT_MARKED, MarkState.REMOVED: REMOVED}
    again = "; vmferry tries it again" if restored.mark is MarkState.FAILED else ""
    message = restored.mark_message
    if restored.mark is MarkState.REMOVED:
        message = "; ".join(filter(None, (_REMOVED_MESSAGE, message)))
    condition = Condition(
        type=MARKED,
        status=ConditionStatus.TRUE if done else ConditionStatus.FALSE,
        reason=reasons[restored.mark],
        message=f"{message[:_LONGEST]}{again}",
    )
    return put(conditions, condition, now)


def is_missing(conditions: Conditions) -> bool:
    """Whether a part of the mark is missing, so that it is tried again."""
    known = find(conditions, MARKED)
    return known is not None and known.reason == NOT_MARKED
