"""Metrics for Prometheus, computed at each scrape from the controller's state and its counters."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from controller.operator.cache import StatusCache
from controller.operator.observe.source import READY
from controller.operator.sources.check import NOT_READY
from workflows.api.conditions import find
from workflows.api.migration_plan import PlanPhase, VmPhase
from workflows.api.status import ConditionStatus, ImportPhase, ImportStatus
from workflows.status.leftovers import SOURCE_LEFTOVERS
from workflows.status.phase import has_succeeded


class CheckCounts(Protocol):
    """What the metrics show of the check pods."""

    def running(self) -> int: ...

    def waiting(self) -> int: ...

    def oldest_seconds(self) -> float: ...


class Collector:
    """The metrics. `queue` has the due keys that no worker has taken; `sources` counts sources by status."""

    def __init__(
        self,
        cache: StatusCache,
        queue: Sized,
        sources: Callable[[], Mapping[str, int]],
        checks: CheckCounts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._queue = queue
        self._sources = sources
        self._checks = checks
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        statuses = list(self._cache.statuses().values())
        counted = Counter(status.import_status for status in statuses)
        imports = GaugeMetricFamily("vmferry_imports", "Imports by importStatus", labels=["status"])
        for phase in ImportPhase:
            imports.add_metric([phase or "new"], counted.get(phase, 0))
        yield imports
        yield from self._plans()
        counts = self._sources()
        sources = GaugeMetricFamily("vmferry_sources", "Sources by status", labels=["status"])
        for value in (READY, NOT_READY):
            sources.add_metric([value], counts.get(value, 0))
        yield sources
        yield self._leftovers(statuses)
        yield from self._check_metrics()
        rows = [row for status in statuses if _has_bytes_left(status) for row in status.disk_import_status]
        done, total = sum(row.bytes_done for row in rows), sum(row.bytes_total for row in rows)
        rate = sum(row.bytes_per_second for row in rows)
        yield GaugeMetricFamily("vmferry_bytes_done", "Bytes moved by the running steps", done)
        yield GaugeMetricFamily("vmferry_bytes_total", "Bytes that the running steps have to move", total)
        yield GaugeMetricFamily("vmferry_bytes_per_second", "Bytes moved per second", rate)
        yield GaugeMetricFamily("vmferry_queue_length", "Imports that wait for a reconcile", len(self._queue))
        idle = self._clock() - self._cache.last_reconcile if self._cache.last_reconcile else 0.0
        help_text = "Seconds since the last successful reconcile"
        yield GaugeMetricFamily("vmferry_seconds_since_last_look", help_text, idle)
        yield from self._counters()

    def _plans(self) -> Iterator[Metric]:
        """The plans, and the VMs of all of them."""
        plans = self._cache.plans()
        counted = Counter(phase for phase, _ in plans)
        by_phase = GaugeMetricFamily("vmferry_plans", "MigrationPlans by phase", labels=["phase"])
        for phase in PlanPhase:
            by_phase.add_metric([phase], counted.get(phase, 0))
        yield by_phase
        help_text = "VMs of MigrationPlans by phase"
        vms = GaugeMetricFamily("vmferry_plan_vms", help_text, labels=["phase"])
        for vm_phase in VmPhase:
            number = sum(getattr(counts, vm_phase.lower()) for _, counts in plans)
            vms.add_metric([vm_phase], number)
        yield vms

    def _counters(self) -> Iterator[Metric]:
        """Each with all its labels from the start, so that a rate shows the first event."""
        counts = self._cache.counters.counts()
        help_text = "Imports that ended, by result"
        ended = CounterMetricFamily("vmferry_imports_ended", help_text, labels=["result"])
        for result in ("succeeded", "failed", "invalid"):
            ended.add_metric([result], counts.ended[result])
        yield ended
        help_text = "Checks of sources, by result"
        checks = CounterMetricFamily("vmferry_source_checks", help_text, labels=["result"])
        for result in ("ready", "notReady"):
            checks.add_metric([result], counts.checks[result])
        yield checks
        help_text = "Seconds that the checks of sources took"
        yield CounterMetricFamily("vmferry_source_check_seconds", help_text, counts.check_seconds)

    def _leftovers(self, statuses: Iterable[ImportStatus]) -> Metric:
        help_text = "Imports whose source still holds something of them, or may"
        leftovers = GaugeMetricFamily("vmferry_imports_with_leftovers", help_text, labels=["import"])
        leftovers.add_metric(["exists"], sum(map(_has_leftovers, statuses)))
        leftovers.add_metric(["deleted"], self._cache.deleted_with_leftovers)
        return leftovers

    def _check_metrics(self) -> Iterator[Metric]:
        checks = self._checks
        yield GaugeMetricFamily("vmferry_checks_running", "Check pods", checks.running())
        yield GaugeMetricFamily("vmferry_checks_waiting", "Due checks that wait for a pod", checks.waiting())
        help_text = "Seconds that the oldest due check has waited for a pod"
        yield GaugeMetricFamily("vmferry_oldest_due_check_seconds", help_text, checks.oldest_seconds())


def _has_leftovers(status: ImportStatus) -> bool:
    condition = find(status.import_conditions, SOURCE_LEFTOVERS)
    return condition is not None and condition.status != ConditionStatus.FALSE


def _has_bytes_left(status: ImportStatus) -> bool:
    """Whether this import still has bytes to move: it has not succeeded, been refused or failed."""
    has_ended = status.import_status in (ImportPhase.FAILED, ImportPhase.INVALID) or has_succeeded(status)
    return not has_ended and status.percent < 100
