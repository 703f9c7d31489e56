"""Counters for Prometheus: what happened since the controller started. They show short failures, too."""

from __future__ import annotations

import threading
from collections import Counter
from typing import NamedTuple

from workflows.api.status import ImportPhase, ImportStatus
from workflows.status.phase import has_succeeded


class Counts(NamedTuple):
    """The counters at one moment."""

    ended: Counter[str]
    """Imports that ended, by result: `succeeded`, `failed`, `invalid`."""
    checks: Counter[str]
    """Checks of sources, by result: `ready`, `notReady`."""
    check_seconds: float
    """How long all these checks took."""


class Counters:
    """Counted by the workers, read by the metrics."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended: Counter[str] = Counter()
        self._checks: Counter[str] = Counter()
        self._check_seconds = 0.0

    def see_import(self, before: ImportStatus | None, after: ImportStatus) -> None:
        """Count an import that has ended since `before`; None: it was not seen before, as after a restart."""
        result = _result(after)
        if before is not None and result and result != _result(before):
            with self._lock:
                self._ended[result] += 1

    def see_check(self, *, ready: bool, seconds: float) -> None:
        """Count a check of a source."""
        with self._lock:
            self._checks["ready" if ready else "notReady"] += 1
            self._check_seconds += seconds

    def counts(self) -> Counts:
        with self._lock:
            return Counts(Counter(self._ended), Counter(self._checks), self._check_seconds)


def _result(status: ImportStatus) -> str:
    """How an import has ended; empty if it has not."""
    if has_succeeded(status):
        return "succeeded"
    return {str(ImportPhase.FAILED): "failed", str(ImportPhase.INVALID): "invalid"}.get(
        status.import_status, ""
    )
