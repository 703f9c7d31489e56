"""Find and set conditions. Nothing is changed in place, and the time is an argument."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from workflows.api.status import Condition, ConditionStatus

TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
"""How Kubernetes writes a time, for `strftime`."""


def find(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of that type, or None."""
    return next((condition for condition in conditions if condition.type == kind), None)


def holds(conditions: Iterable[Condition], kind: str) -> bool:
    """Whether the condition of that type exists and is True."""
    condition = find(conditions, kind)
    return condition is not None and condition.status == ConditionStatus.TRUE


def put(conditions: Iterable[Condition], new: Condition, now: datetime) -> tuple[Condition, ...]:
    """The conditions with `new`, which replaces the condition of its type or is appended. Sets its times.

    The transition time changes only with the status, the update time with any field.
    """
    before = tuple(conditions)
    old = find(before, new.type)
    if old is None:
        return *before, _at(new, stamp(now), stamp(now))
    changed = old if _content(old) == _content(new) else _at(new, stamp(now), _transition(old, new, now))
    return tuple(
        changed if condition is old else condition
        for condition in before
        if condition is old or condition.type != new.type
    )


def keep_times(before: Iterable[Condition], after: Iterable[Condition]) -> tuple[Condition, ...]:
    """`after`, where each condition that is equal to one in `before` keeps its times."""
    old = {condition.type: condition for condition in before}
    return tuple(
        old[new.type] if new.type in old and _content(old[new.type]) == _content(new) else new
        for new in after
    )


def stamp(now: datetime) -> str:
    """A time as Kubernetes writes it."""
    return now.astimezone(UTC).strftime(TIME)


def _at(condition: Condition, update: str, transition: str) -> Condition:
    return condition.model_copy(update={"last_update_time": update, "last_transition_time": transition})


def _content(condition: Condition) -> tuple[str, str, str]:
    return condition.status, condition.reason, condition.message


def _transition(old: Condition, new: Condition, now: datetime) -> str:
    return old.last_transition_time if old.status == new.status else stamp(now)
