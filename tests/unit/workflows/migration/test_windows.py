"""When imports may start."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from workflows.api.migration_plan import Window
from workflows.migration.windows import is_open, opens


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def a_window(start: str = "22:00", end: str = "06:00", **more: Any) -> Window:
    return Window.model_validate({"start": start, "end": end, **more})


def test_without_windows_it_is_always_open() -> None:
    assert is_open([], at("2026-12-01T12:00"))


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-12-01T21:59", False),
        ("2026-12-01T22:00", True),
        ("2026-12-02T05:59", True),
        ("2026-12-02T06:00", False),
    ],
)
def test_a_window_over_midnight(time: str, expected: bool) -> None:
    assert is_open([a_window()], at(time)) is expected


def test_a_window_of_equal_times_lasts_a_day() -> None:
    window = a_window("00:00", "00:00", days=["Sat"])
    assert is_open([window], at("2026-12-05T00:00"))
    assert is_open([window], at("2026-12-05T23:59"))
    assert not is_open([window], at("2026-12-06T00:00"))


def test_days_are_those_on_which_the_window_begins() -> None:
    window = a_window(days=["Fri"])
    assert is_open([window], at("2026-12-05T03:00"))  # the night from Friday to Saturday
    assert not is_open([window], at("2026-12-05T23:00"))
    assert opens([window], at("2026-12-05T06:00")) == at("2026-12-11T22:00")


def test_dates_open_once() -> None:
    window = a_window(dates=["2026-12-24", "2026-12-31"])
    assert is_open([window], at("2026-12-25T01:00"))
    assert opens([window], at("2026-12-25T01:00")) == at("2026-12-31T22:00")
    assert opens([window], at("2027-01-02T00:00")) is None


@pytest.mark.parametrize(("day", "hour"), [("2026-12-01", "21:00"), ("2026-07-01", "20:00")])
def test_times_are_those_of_the_time_zone_in_winter_and_summer(day: str, hour: str) -> None:
    window = a_window(timeZone="Europe/Berlin")
    assert opens([window], at(f"{day}T12:00")) == at(f"{day}T{hour}")


def test_the_day_is_that_of_the_time_zone() -> None:
    window = a_window("00:00", "06:00", days=["Wed"], timeZone="Pacific/Auckland")
    assert is_open([window], at("2026-12-01T12:00"))  # there it is Wednesday, 01:00


def test_a_time_that_summer_time_skips_opens_at_the_change() -> None:
    window = a_window("02:30", "04:00", timeZone="Europe/Berlin")
    assert opens([window], at("2026-03-29T00:00")) == at("2026-03-29T01:30")
    assert not is_open([window], at("2026-03-29T01:00"))


def test_a_window_that_begins_in_the_hour_that_summer_time_skips_is_not_open_for_a_day() -> None:
    """On 28 March 2027 the clocks in Berlin go from 02:00 to 03:00: 02:30 is 03:30, after the end, 03:10."""
    window = a_window("02:30", "03:10", timeZone="Europe/Berlin")
    assert is_open([window], at("2027-03-27T01:45"))
    assert not any(is_open([window], at(f"2027-03-28T{hour:02}:15")) for hour in range(24))
    assert opens([window], at("2027-03-27T12:00")) == at("2027-03-29T00:30")


def test_a_window_around_the_skipped_hour_is_an_hour_shorter() -> None:
    window = a_window("01:30", "04:00", timeZone="Europe/Berlin")
    assert is_open([window], at("2027-03-28T00:30"))
    assert not is_open([window], at("2027-03-28T02:00"))
