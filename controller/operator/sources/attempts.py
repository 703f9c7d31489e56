"""When a source is verified again, from its status alone, so that a restart forgets nothing. Pure.

A failure is tried again after growing pauses. Refused credentials are tried at most twice until something
changes: vCenter locks an account after five refusals in three minutes, and others may use the account too.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from controller.operator.observe.source import READY, TRY_NOW
from steps.model.contract import Exit
from workflows.api.conditions import stamp
from workflows.api.status import SourceStatus, Verification

FIRST_PAUSE: Final = 15.0
LONGEST_PAUSE: Final = 600.0
"""Seconds between two attempts after a failure."""
MOST_REFUSALS: Final = 2
"""Attempts with the same credentials that a source refuses."""
REFUSED: Final = Exit.DENIED.word
"""The reason of a verdict on credentials that the source refuses."""
WAITING: Final = (
    "vmferry does not use these credentials again until the source or its Secret changes, so that the "
    f"account is not locked. {TRY_NOW}"
)
NEAR_LOCK: Final = (
    "the source has refused this account several times in the last minutes. vmferry waits, so that the "
    "account is not locked, and then checks again by itself"
)
"""Why a check is postponed. It does not say whose passwords were refused."""


def pause(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(FIRST_PAUSE * 2.0 ** (min(max(failures, 1), 10) - 1), LONGEST_PAUSE)


def is_refused(status: SourceStatus, credentials: str) -> bool:
    """Whether the source has refused the credentials of this version as often as vmferry tries them."""
    last = status.verification
    return last.credentials == credentials and last.refusals >= MOST_REFUSALS


def seconds_left(status: SourceStatus, credentials: str, now: datetime, recheck_seconds: float) -> float:
    """Seconds until a source is verified again; 0 after a change of its credentials."""
    last = status.verification
    if last.credentials != credentials or not last.time:
        return 0.0
    try:
        elapsed = (now - datetime.fromisoformat(last.time)).total_seconds()
    except (ValueError, TypeError):  # somebody else wrote it
        return 0.0
    wait = recheck_seconds if status.status == READY and last.failures < 1 else pause(last.failures)
    return max(wait - elapsed, 0.0) if elapsed >= 0 else 0.0


def succeeded(credentials: str, check: str, now: datetime) -> Verification:
    """The record after an attempt that succeeded."""
    return Verification(time=stamp(now), credentials=credentials, check=check)


def failed(before: SourceStatus, reason: str, credentials: str, check: str, now: datetime) -> Verification:
    """The record after another failure, for the reason of its verdict; `check` is the uid of its pod."""
    last = before.verification
    same = last.credentials == credentials
    return Verification(
        time=stamp(now),
        failures=(last.failures if same else 0) + 1,
        refusals=(last.refusals if same else 0) + (reason == REFUSED),
        credentials=credentials,
        check=check,
    )
