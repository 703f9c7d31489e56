"""The controller's process: it takes the Lease, then runs watches and workers until SIGTERM or SIGINT.

Exit codes: 0 after SIGTERM or SIGINT; 1 when the Lease was lost, because another controller may be active.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from datetime import UTC, datetime
from typing import Final

import structlog

from controller.operator import compat, health, limits, orphans, telemetry
from controller.operator.cache import StatusCache
from controller.operator.checkpods.check import Owner
from controller.operator.checkpods.runner import CheckPods
from controller.operator.lease import Lease
from controller.operator.metrics import Collector
from controller.operator.options import Options
from controller.operator.reconcile import START_LOCK, reconcile
from controller.operator.routing import EventRouter, ImportKey, SourceKey
from controller.operator.sources.reconcile import SourceReconciler
from controller.operator.sources.users import SecretUsers
from controller.operator.sweep import sweep
from controller.operator.watch import Watches
from controller.operator.workers import Workers
from controller.operator.workqueue import Queue
from steps.model.contract import StepError
from steps.model.kinds import IMPORT, MIGRATION_PLAN
from steps.runtime.cluster import Cluster
from steps.runtime.kubeapi import connect, connect_once
from steps.runtime.stop import Stop

log = structlog.get_logger()

PATIENCE: Final = 20.0
"""Seconds that a request may stay unanswered before the object is requeued."""
LEASE_SECONDS: Final = 4.0
"""Seconds that a request about the Lease may take: a failed renewal must be known in time."""
IMPORTS_AT_ONCE: Final = 4
SOURCES_AT_ONCE: Final = 2
POLL_AFTER_ERROR: Final = 5.0
"""Seconds to the next list of the check pods after one that failed."""
AT_THE_END: Final = 20.0
"""Seconds that all running reconciles together have at the end of the controller."""


def main() -> int:
    """Run until SIGTERM or SIGINT; returns the process's exit code."""
    telemetry.configure(debug=os.environ.get("DEBUG", "") == "true")
    try:
        options = Options.read()
        port = health.port_of(os.environ)
        stop = Stop()
        cluster = connect(stop, patience=PATIENCE)
        lease_cluster = connect(stop, patience=0, seconds=LEASE_SECONDS)
    except StepError as error:
        log.error(str(error))  # noqa: TRY400 - a person must fix this and needs no traceback
        return int(error.code)
    process = _Process(options, cluster, lease_cluster, stop)
    try:
        process.listen(port)
    except StepError as error:
        log.error(str(error))  # noqa: TRY400 - as above
        return int(error.code)
    return process.run()


class _Process:
    """All parts of the process, and the order in which they start and end."""

    def __init__(self, options: Options, cluster: Cluster, lease_cluster: Cluster, stop: Stop) -> None:
        self._options = options
        self._cluster = cluster
        self._stop = stop
        self._ended = threading.Event()
        self._lost = False
        self._imports: Queue[ImportKey] = Queue(group=lambda key: key.namespace, at_once=IMPORTS_AT_ONCE - 1)
        self._sources: Queue[SourceKey] = Queue(group=lambda key: key.namespace, at_once=1)
        self._cache = StatusCache(
            lambda: compat.find_other_controller(cluster),
            find_former_operator=lambda: compat.find_former_operator(cluster),
        )
        self._secrets = SecretUsers(self._sources.add, self._imports.add)
        self._checks = CheckPods(cluster, options, self._requeue)
        self._source_reconciler = SourceReconciler(
            cluster, options, self._checks, counters=self._cache.counters, secrets=self._secrets
        )
        self._router = EventRouter(self._imports, self._sources)
        self._watches = Watches(connect_once, options, self._router.route)
        self._lease = Lease(lease_cluster, options.namespace, lost=self._exit_without_lease)
        self._workers = (
            Workers("imports", self._imports, self._reconcile_import, IMPORTS_AT_ONCE),
            Workers("sources", self._sources, self._source_reconciler.reconcile, SOURCES_AT_ONCE),
        )

    def listen(self, port: int) -> None:
        """Serve health and metrics. Raises StepError (INVALID) if the port is taken."""
        health.serve(
            Collector(self._cache, self._imports, self._source_reconciler.count_by_status, self._checks),
            self._find_problem,
            lambda: "",
            port,
            health.host_of(os.environ),
        )

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._end())
        if not self._lease.acquire(self._ended):
            return 0
        log.info("vmferry's controller is at work", release=self._options.namespace)
        compat.log_differences(self._cluster)
        self._poll()  # before anything is due: checks of an earlier process count against the limits
        threading.Thread(target=self._follow_checks, name="checks", daemon=True).start()
        for workers in self._workers:
            workers.start()
        self._watches.start()
        self._follow_limits()
        while not self._ended.wait(self._options.recheck_seconds):
            self._sweep()
            self._follow_limits()
        return self._close()

    def _reconcile_import(self, key: ImportKey) -> float | None:
        return reconcile(
            self._cluster,
            self._options,
            key,
            self._cache,
            lambda: datetime.now(UTC),
            self._checks,
            self._sources.add,
            self._secrets,
        )

    def _requeue(self, owner: Owner) -> None:
        if owner.kind in (IMPORT, MIGRATION_PLAN):
            self._imports.add(ImportKey(owner.namespace, owner.name, owner.kind))
        else:
            self._sources.add(SourceKey(*owner))

    def _follow_checks(self) -> None:
        while not self._ended.is_set():
            self._checks.wait(self._poll())

    def _poll(self) -> float:
        try:
            return self._checks.poll()
        except StepError as error:
            log.warning(f"could not list the check pods: {error}")
            return POLL_AFTER_ERROR

    def _sweep(self) -> None:
        try:
            sweep(self._cluster, self._options.namespace)
            self._cache.deleted_with_leftovers = orphans.clean_up(self._cluster, self._options)
        except StepError as error:
            log.warning(f"could not look for leftovers of deleted imports: {error}")

    def _follow_limits(self) -> None:
        try:
            with START_LOCK:  # a Workflow that is about to be created needs its keys
                limits.follow(self._cluster, self._options)
        except StepError as error:
            log.warning(f"could not update the limits per source: {error}")

    def _find_problem(self) -> str:
        """Why Kubernetes should restart this process. Waiting for the Lease is not a reason."""
        stuck = [message for workers in self._workers for message in workers.stuck()]
        return "; ".join(stuck)

    def _exit_without_lease(self) -> None:
        """Another controller has the Lease: do not write any more."""
        log.error("the Lease was lost; another controller may be active, so this one exits immediately")
        os._exit(1)

    def _end(self) -> None:
        self._ended.set()

    def _close(self) -> int:
        deadline = time.monotonic() + AT_THE_END
        self._watches.close()
        for workers in self._workers:
            workers.close()
        if all(workers.ended(deadline) for workers in self._workers):
            self._lease.release()
        else:  # a running reconcile must not overlap with another controller: the Lease expires
            log.warning("a reconcile is still running; the next controller starts when the Lease has expired")
        self._watches.join(deadline)
        log.info("vmferry's controller has ended")
        return 0
