"""The end of a task of vSphere."""

from __future__ import annotations

import time
from typing import Any, Final

from steps.model.contract import Exit, StepError
from steps.providers.vmware import collector, faults
from steps.providers.vmware.session import Session

POLL_SECONDS: Final = 1.0


def await_result(session: Session, task: Any, what: str, *, seconds: float, late: StepError) -> Any:
    """The result of a task (TaskInfo.result). Raises StepError for its fault, and `late` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        row = collector.read_one(session, task, "info.state", "info.error", "info.result")
        if row.get("info.state") == "success":
            return row.get("info.result")
        if row.get("info.state") == "error":
            raise faults.from_fault(what, row.get("info.error"))
        if time.monotonic() > deadline:
            raise late
        session.stop.sleep(POLL_SECONDS)


def too_late(what: str) -> StepError:
    """The error for a change that takes too long; the next attempt finds out what came of it."""
    return StepError(Exit.UNREACHABLE, what, "vCenter did not end the task in time", "it is tried again")
