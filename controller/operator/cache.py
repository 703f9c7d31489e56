"""What the controller remembers between reconciles: for metrics, and what rarely changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from controller.operator.counters import Counters
from controller.operator.routing import ImportKey
from steps.model.kinds import IMPORT, V2V_IMPORT, Kind
from workflows.api.migration_plan import MigrationPlanStatus, PlanCounts
from workflows.api.status import ImportStatus

Key = ImportKey | tuple[str, str]
FOREIGN_SECONDS: Final = 60.0
"""How long to cache whether vm-import-controller is active here, seconds."""


class StatusCache:
    """Statuses by import, and whether vm-import-controller is active. A restart may lose all of it."""

    def __init__(
        self,
        find_other_controller: Callable[[], str | None],
        clock: Callable[[], float] = time.monotonic,
        find_former_operator: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._find = {IMPORT: find_other_controller, V2V_IMPORT: find_former_operator}
        self._clock = clock
        self._lock = threading.Lock()
        self._statuses: dict[Key, ImportStatus] = {}
        self._plans: dict[Key, tuple[str, PlanCounts]] = {}
        self.counters = Counters()
        self._others: dict[Kind, tuple[str | None, float]] = {}
        """The answers by the kind of imports, and when they were found."""
        self.last_reconcile = 0.0
        """Time of the last successful reconcile of any import, on `clock`."""
        self.deleted_with_leftovers = 0
        """Deleted imports whose sources may still hold something."""

    def put(self, key: Key, status: ImportStatus) -> None:
        with self._lock:
            self.counters.see_import(self._statuses.get(key), status)
            self._statuses[key] = status
            self.last_reconcile = self._clock()

    def forget(self, key: Key) -> None:
        with self._lock:
            self._statuses.pop(key, None)

    def statuses(self) -> dict[Key, ImportStatus]:
        with self._lock:
            return dict(self._statuses)

    def put_plan(self, key: Key, status: MigrationPlanStatus) -> None:
        """Remember the phase of a plan and the number of its VMs; not the VMs, which may be a thousand."""
        with self._lock:
            self._plans[key] = status.phase, status.counts

    def forget_plan(self, key: Key) -> None:
        with self._lock:
            self._plans.pop(key, None)

    def plans(self) -> list[tuple[str, PlanCounts]]:
        with self._lock:
            return list(self._plans.values())

    def other_controller(self, kind: Kind = IMPORT) -> str | None:
        """Why nothing may be done with imports of that kind here; at most a minute old."""
        now = self._clock()
        found, read_at = self._others.get(kind, (None, None))
        if read_at is None or now - read_at > FOREIGN_SECONDS:
            found = self._find[kind]()
            self._others[kind] = found, now
        return found
