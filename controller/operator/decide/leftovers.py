"""What a run may have left at its source, and when the cleanup is repeated. Pure.

The exit handler of a Workflow releases what the import holds at its source. If it could not, because the
source did not answer or because the handler did not run, the cleanup is repeated in a Workflow of its own
(decision 8), with growing pauses, until the source is clean or `LIMIT` has passed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from controller.operator.decide.actions import Action, DeleteWorkflows, RunCleanup
from controller.operator.observe.facts import Facts
from controller.operator.observe.request import CleanupRecord
from controller.operator.observe.source import SOURCE_NOT_READY
from steps.model.source_mark import MarkState
from workflows.api.conditions import find, put
from workflows.api.status import Condition, Conditions, ConditionStatus, ImportPhase, ImportStatus
from workflows.status.leftovers import SOURCE_LEFTOVERS, cleaned_at, leftovers, may_have_left
from workflows.status.marked import MARKED, is_missing, with_marked
from workflows.status.observed import Observed
from workflows.status.phase import has_succeeded
from workflows.status.restored import read_restored, with_restored

LIMIT: Final = timedelta(days=30)
"""How long the cleanup is repeated."""
FIRST_PAUSE: Final = timedelta(minutes=5)
LONGEST_PAUSE: Final = timedelta(hours=6)


class Reason(enum.StrEnum):
    """Reasons of the condition."""

    LEFT = "Left"
    NOT_ASKED = "SourceNotAsked"
    RELEASED = "Released"
    GIVEN_UP = "GivenUp"


@dataclass(frozen=True)
class AtSource:
    """What the source of a run holds."""

    left: tuple[str, ...] | None
    """None: not known."""
    is_given_up: bool = False
    is_unmarked: bool = False
    """Whether the import has succeeded, and a part of the VM's mark is missing (`spec.markSource`)."""

    @property
    def needs_cleanup(self) -> bool:
        """Whether the exit handler must run again. A mark does not delay the deletion of an import."""
        return self.is_pending or (self.is_unmarked and not self.is_given_up)

    @property
    def is_pending(self) -> bool:
        """Whether the source may still hold something, so that the cleanup must be repeated."""
        return self.left != () and not self.is_given_up


CLEAN: Final = AtSource(())


def at_source(facts: Facts, now: datetime) -> AtSource:
    """What the source holds after the run's Workflow has ended, or was deleted.

    It is given up without the request or the credentials, because nobody can look.
    """
    left = _last_result(facts) if _was_touched(facts) else ()
    is_unmarked = _is_unmarked(facts, now)
    if left == () and not is_unmarked:
        return CLEAN
    request = facts.request
    can_look = request is not None and request.plan is not None and _credentials(facts) is not None
    since = _since(facts)
    return AtSource(left, not can_look or (since is not None and now - since >= LIMIT), is_unmarked)


def next_cleanup(
    facts: Facts, now: datetime, *, at_once: bool = False, keeps_off: bool = False
) -> Iterator[Action]:
    """The actions that repeat the cleanup, if it is time; only for a run with something pending.

    `at_once`: the first one needs no pause. `keeps_off`: it stops and starts no VM, even if the import has
    failed and asks for it (`spec.onFailure`); after a success it never does.
    """
    request, credentials = facts.request, _credentials(facts)
    if request is None or request.plan is None or credentials is None or facts.cleanup_runs:
        return
    is_first = at_once and not request.cleanups.attempts and facts.cleanup is None
    is_away = facts.uses_source_of_run and facts.resolved.reason == SOURCE_NOT_READY
    if not is_first and (is_away or now < _due(facts)):
        return  # the event of a source that answers again leads here at once
    if facts.cleanup is not None:
        yield DeleteWorkflows((facts.cleanup.name,))
    succeeded = has_succeeded(facts.status)
    yield RunCleanup(
        request.plan,
        request.cleanups.attempts,
        credentials,
        keeps_off=keeps_off or succeeded,
        has_succeeded=succeeded and not keeps_off,
    )


def with_leftovers(facts: Facts, status: ImportStatus, found: AtSource, now: datetime) -> ImportStatus:
    """The status with the condition about the source; without it if no step has touched the source.

    Also with what a repeated cleanup has done about the power of the VM there (`spec.onFailure`).

    A succeeded import has it only if something was left: it needs no statement that nothing is.
    """
    if facts.cleanup is not None:
        conditions = with_restored(status.import_conditions, read_restored(facts.cleanup), now)
        status = status.model_copy(update={"import_conditions": conditions})
    status = status.model_copy(update={"import_conditions": _marked(facts, status.import_conditions, now)})
    is_new = find(status.import_conditions, SOURCE_LEFTOVERS) is None
    if is_new and (not _was_touched(facts) or (has_succeeded(status) and not found.is_pending)):
        return status
    condition = _condition(found, where(facts))
    return status.model_copy(update={"import_conditions": put(status.import_conditions, condition, now)})


def with_result(
    facts: Facts, status: ImportStatus, left: tuple[str, ...] | None, now: datetime
) -> ImportStatus:
    """The status with the result of an undo, whose Workflow is deleted afterwards."""
    condition = _condition(AtSource(left), where(facts))
    return status.model_copy(update={"import_conditions": put(status.import_conditions, condition, now)})


def without_leftovers(status: ImportStatus) -> ImportStatus:
    """The status without that condition: what a running import holds at its source is not left there."""
    conditions = tuple(one for one in status.import_conditions if one.type != SOURCE_LEFTOVERS)
    return status.model_copy(update={"import_conditions": conditions})


def where(facts: Facts) -> str:
    """The source of the run, for a message."""
    plan = facts.request.plan if facts.request else None
    return plan.source.title if plan else "the source"


def what(found: AtSource) -> str:
    """What the source holds, for a message."""
    return "; ".join(found.left) if found.left else "something of the import, such as an export or a snapshot"


def _condition(found: AtSource, source: str) -> Condition:
    status = ConditionStatus.UNKNOWN if found.left is None else ConditionStatus.TRUE
    if found.left == ():
        status, reason, message = (
            ConditionStatus.FALSE,
            Reason.RELEASED,
            f"{source} holds nothing of this import",
        )
    elif found.is_given_up:
        reason = Reason.GIVEN_UP
        message = (
            f"{source} may still hold {what(found)}; vmferry does not try to release it any more: check it"
        )
    elif found.left is None:
        reason = Reason.NOT_ASKED
        message = (
            f"{source} may still hold {what(found)}; vmferry runs the cleanup again when {source} answers"
        )
    else:
        reason, message = Reason.LEFT, f"{source} still holds {what(found)}; vmferry runs the cleanup again"
    return Condition(type=SOURCE_LEFTOVERS, status=status, reason=reason, message=message)


def _marked(facts: Facts, conditions: Conditions, now: datetime) -> Conditions:
    """The conditions with what the last exit handler did about the mark of the VM; once set, it stays."""
    known = find(conditions, MARKED)
    if known is not None and known.status == ConditionStatus.TRUE:
        return conditions
    found = [read_restored(seen) for seen in (facts.cleanup, facts.seen) if seen is not None]
    last = next((one for one in found if one.mark is not MarkState.NOTHING), None)
    return conditions if last is None else with_marked(conditions, last, now)


def _is_unmarked(facts: Facts, now: datetime) -> bool:
    """Whether a part of the mark is missing. The status remembers it after the Workflow was deleted."""
    if not has_succeeded(facts.status):
        return False
    return is_missing(_marked(facts, facts.status.import_conditions, now))


def _was_touched(facts: Facts) -> bool:
    """Whether a step may have begun that changes the source, or holds something there."""
    if facts.seen is not None:
        return may_have_left(facts.seen)
    if facts.cleanup is not None or find(facts.status.import_conditions, SOURCE_LEFTOVERS) is not None:
        return True
    return facts.status.import_status != ImportPhase.INVALID and not has_succeeded(facts.status)


def _last_result(facts: Facts) -> tuple[str, ...] | None:
    """The result of the last cleanup. The status remembers it after its Workflow was deleted."""
    if facts.cleanup is not None and not _is_outdated(facts.cleanup, facts.seen):
        return leftovers(facts.cleanup)
    if facts.seen is not None:
        return leftovers(facts.seen)
    known = find(facts.status.import_conditions, SOURCE_LEFTOVERS)
    return () if known is not None and known.status == ConditionStatus.FALSE else None


def _is_outdated(cleanup: Observed, seen: Observed | None) -> bool:
    """Whether the run's Workflow was retried in Argo, and has ended, after that cleanup."""
    ended = cleaned_at(cleanup)
    later = [leaf.finished for leaf in seen.leaves if leaf.finished] if seen is not None else []
    return ended is not None and bool(later) and max(later) > ended


def _since(facts: Facts) -> datetime | None:
    """Since when something is known to be left."""
    if facts.request is not None and facts.request.cleanups.first is not None:
        return facts.request.cleanups.first
    conditions = facts.status.import_conditions
    known = find(conditions, SOURCE_LEFTOVERS)
    if known is None and is_missing(conditions):
        known = find(conditions, MARKED)
    return _time(known.last_transition_time) if known is not None else None


def _due(facts: Facts) -> datetime:
    """When the cleanup is repeated."""
    record = facts.request.cleanups if facts.request else CleanupRecord()
    known = (record.last, cleaned_at(facts.seen), cleaned_at(facts.cleanup))
    times = [time for time in known if time is not None]
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(record.attempts, 10))
    return max(times) + pause if times else datetime.min.replace(tzinfo=UTC)


def _credentials(facts: Facts) -> Mapping[str, str] | None:
    """Those of the source, else the run's copy. A succeeded import gives up its copy when nothing is left."""
    has_copy = facts.request is not None and facts.request.credentials is not None
    return facts.credentials_of_run if has_copy or not has_succeeded(facts.status) else None


def _time(text: str) -> datetime | None:
    """A time of a condition; None if somebody else wrote something else."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
