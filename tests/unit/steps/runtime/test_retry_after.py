"""How long a server asks to wait."""

from __future__ import annotations

from email.message import Message

import pytest

from steps.disk.faults import status_fault
from steps.model.contract import Exit, NoAnswerError
from steps.runtime import retry_after

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("25", 25),
        (" 0 ", 0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30),
        ("Tuesday, 14-Nov-23 22:13:50 GMT", 30),
        ("Tue, 14 Nov 2023 22:13:10 GMT", 0),
        ("99999999999999999999", 7 * 24 * 3600),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 7 * 24 * 3600),
        ("-5", None),
        ("1.5", None),
        ("\u0663", None),
        ("soon", None),
        ("Tue, 99 Nov 2023 22:13:50 GMT", None),
        ("", None),
    ],
)
def test_seconds_and_dates_are_read_and_bounded(text: str, wanted: float | None) -> None:
    headers = Message()
    headers["retry-after"] = text
    assert retry_after.seconds(headers, lambda: NOW) == wanted


def test_no_header_asks_for_nothing() -> None:
    assert retry_after.seconds({}) is None


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_waited_for_as_long_as_it_asks(status: int) -> None:
    error = status_fault(status, "slow down", "h", {"Retry-After": "25"})
    assert isinstance(error, NoAnswerError)
    assert (error.code, error.retry_after) == (Exit.UNREACHABLE, 25)
    assert "it asks to wait 25 s" in str(error)


@pytest.mark.parametrize("status", [403, 404, 500])
def test_another_status_is_no_reason_to_wait(status: int) -> None:
    assert not isinstance(status_fault(status, "no", "h", {"Retry-After": "25"}), NoAnswerError)
