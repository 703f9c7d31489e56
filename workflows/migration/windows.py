"""The times in which imports may start. Pure: the time is an argument."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from workflows.api.migration_plan import Day, Window

LOOK_AHEAD: Final = 8
"""Days in which a window with days of the week opens again."""
_DAYS: Final = list(Day)


def zone(window: Window) -> tzinfo:
    """The time zone of a window.

    Raises:
        ValueError: this computer knows no such zone.
    """
    name = window.time_zone or "UTC"
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError) as error:
        raise ValueError(f"there is no time zone {name!r}") from error


def is_open(windows: Sequence[Window], now: datetime) -> bool:
    """Whether imports may start; always without windows."""
    return not windows or any(start <= now < end for one in windows for start, end in _spans(one, now))


def opens(windows: Sequence[Window], now: datetime) -> datetime | None:
    """When the next window opens, in UTC; None if none will."""
    starts = (start for one in windows for start, _ in _spans(one, now) if start > now)
    return min(starts, default=None)


def _spans(window: Window, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Begin and end of the window, from yesterday on, in UTC."""
    where = zone(window)
    today = now.astimezone(where).date()
    last = timedelta(days=1 if window.end <= window.start else 0)  # as written: a change of time moves both
    for day in _dates(window, today):
        start = _at(day, window.start, where)
        end = _at(day + last, window.end, where)
        if start < end:  # a window within the hour that a change to summer time skips does not open
            yield start, end


def _dates(window: Window, today: date) -> Iterator[date]:
    """The days on which the window begins: the dates, or the days around today."""
    if window.dates is not None:
        yield from map(date.fromisoformat, window.dates)
        return
    days = window.days or _DAYS
    for number in range(-1, LOOK_AHEAD + 1):
        day = today + timedelta(days=number)
        if _DAYS[day.weekday()] in days:
            yield day


def _at(day: date, clock: str, where: tzinfo) -> datetime:
    """A time of a day. One that a change to summer time skips is the moment of the change, or just after."""
    return datetime.combine(day, time.fromisoformat(clock), where).astimezone(UTC)
