"""Conditions are put and found, and never changed in place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from workflows.api.conditions import find, holds, put, stamp
from workflows.api.status import Condition

NOW = datetime(2026, 11, 21, 12, 0, 0, 987654, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


def a_condition(
    kind: str = "VMExported", status: str = "True", reason: str = "", message: str = ""
) -> Condition:
    return Condition(type=kind, status=status, reason=reason, message=message)


def test_a_new_type_is_appended_with_its_times() -> None:
    first = put((), a_condition("A"), NOW)
    both = put(first, a_condition("B"), LATER)
    assert [one.type for one in both] == ["A", "B"]
    assert both[1].last_update_time == both[1].last_transition_time == "2026-11-21T12:05:00Z"


def test_the_same_type_is_replaced_in_its_place() -> None:
    before = put(put((), a_condition("A"), NOW), a_condition("B"), NOW)
    after = put(before, a_condition("A", "False"), LATER)
    assert [(one.type, one.status) for one in after] == [("A", "False"), ("B", "True")]


def test_the_transition_time_moves_only_with_the_status() -> None:
    before = put((), a_condition(message="a"), NOW)
    (same,) = put(before, a_condition(message="b"), LATER)
    assert (same.last_transition_time, same.last_update_time) == (stamp(NOW), stamp(LATER))
    (other,) = put((same,), a_condition(status="False", message="b"), LATER)
    assert other.last_transition_time == stamp(LATER)


def test_an_equal_condition_keeps_its_times() -> None:
    before = put((), a_condition(reason="R", message="m"), NOW)
    assert put(before, a_condition(reason="R", message="m"), LATER) == before


def test_nothing_is_changed_in_place() -> None:
    before = put((), a_condition(), NOW)
    copy = tuple(one.model_copy() for one in before)
    put(before, a_condition(status="False"), LATER)
    assert before == copy


def test_duplicate_types_become_one() -> None:
    twice = (a_condition("A"), a_condition("B"), a_condition("A", "False"))
    assert [one.type for one in put(twice, a_condition("A", "Unknown"), NOW)] == ["A", "B"]


def test_find_returns_the_condition_of_a_type() -> None:
    conditions = (a_condition("A", "False"), a_condition("B"))
    assert find(conditions, "A") is conditions[0]
    assert find(conditions, "C") is None
    assert (holds(conditions, "A"), holds(conditions, "B"), holds(conditions, "C")) == (False, True, False)


def test_times_are_rfc_3339_in_utc() -> None:
    assert stamp(NOW.astimezone(timezone(timedelta(hours=5)))) == "2026-11-21T12:00:00Z"
