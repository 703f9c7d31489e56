"""When the run of a failed import expires, and its status after that. Pure.

Argo deletes a failed Workflow after `Options.keep_failed`. Then the rest of the run goes too: its scratch and
its copy of the credentials. Nothing can resume after that, so a retry is a new run, which begins with
`preflight`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from controller.operator.observe.facts import Facts
from controller.operator.options import Options
from workflows.api.conditions import find, put
from workflows.api.status import Condition, ConditionStatus, ImportStatus
from workflows.status.phase import EXPIRED, SUCCEEDED
from workflows.status.progress import duration
from workflows.status.reflect import gone_note

DAY: Final = 86400


def has_expired(status: ImportStatus) -> bool:
    """Whether the run of a failed import has expired, and no new one has begun."""
    summary = find(status.import_conditions, SUCCEEDED)
    return status.workflow is None and summary is not None and summary.reason == EXPIRED


def is_due(facts: Facts, options: Options, now: datetime) -> bool:
    """Whether a failed or refused import without a Workflow has failed long enough ago.

    A person may delete a Workflow earlier: the time counts from the failure.
    """
    if facts.seen is not None or facts.other_workflows or facts.cleanup_runs:
        return False
    failed = _failure_time(facts.status)
    return failed is not None and (now - failed).total_seconds() >= options.keep_failed


def expired_status(status: ImportStatus, options: Options, now: datetime) -> ImportStatus:
    """The status of an import whose run has expired. The next one begins with nothing of that run."""
    message = status.message
    if status.workflow is not None:
        note = gone_note(status.workflow.name)
        message = message.removesuffix(f" ({note})").removesuffix(note).strip()
    kept = _days(options.keep_failed)
    note = f"its scratch was deleted {kept} after the failure; a retry starts again from preflight"
    message = f"{message} ({note})" if message else note
    condition = Condition(type=SUCCEEDED, status=ConditionStatus.FALSE, reason=EXPIRED, message=message)
    return status.model_copy(
        update={
            "message": message,
            "workflow": None,
            "import_conditions": put(status.import_conditions, condition, now),
        }
    )


def _failure_time(status: ImportStatus) -> datetime | None:
    """When the import failed; None if that is not known."""
    summary = find(status.import_conditions, SUCCEEDED)
    if summary is None or summary.status != ConditionStatus.FALSE:
        return None
    try:
        time = datetime.fromisoformat(summary.last_transition_time)
    except ValueError:  # somebody else wrote it
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _days(seconds: int) -> str:
    return f"{seconds // DAY} days" if seconds >= 2 * DAY else duration(seconds)
