"""An export lease: acquire it, keep it alive with the real percentage, complete it, abort it on every error.

    ExportVm ──> initializing ──> ready ──> [HttpNfcLeaseProgress …] ──> HttpNfcLeaseComplete
       │ refused while the host is busy: wait      │ any error, any signal ──> HttpNfcLeaseAbort

Without HttpNfcLeaseProgress the lease ends after `leaseTimeout` seconds and its transfers with it; a lease
that is not ended keeps a task running and the VM locked (vim.HttpNfcLease).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog
from pyVmomi import vmodl

from steps.model.contract import Exit, StepError, Stopped
from steps.providers.keep_alive import KeepAlive, lost_fault
from steps.providers.vmware import collector, faults
from steps.providers.vmware.session import Session

log = structlog.get_logger()

POLL_SECONDS: Final = 0.2
READY_SECONDS: Final = 600.0
"""Seconds that a lease may initialise: hosts usually need a few; a busy host may need more."""
MAX_BEAT_SECONDS: Final = 30.0
"""Keep-alives are at most so far apart, whatever the lease's time-out (300 s on hosts): the percentage is
also for people who look at the task."""
WAIT_SECONDS: Final = 12 * 3600.0
"""How long to wait for another export of the same VM: 1 TiB at the 25 MB/s of one NFC stream. After
that the step ends with BUSY and is retried."""
SHORTEST_PAUSE_SECONDS: Final = 2.0
LONGEST_PAUSE_SECONDS: Final = 15.0
LOG_SECONDS: Final = 60.0

TimeFunction = Callable[[], float]


class LeaseKeepAlive(KeepAlive):
    """Reports the transfer's progress to the lease.

    A lost call is retried at the next beat, as long as the lease can still be alive.
    """

    def __init__(self, session: Session, lease: Any, timeout: float, what: str) -> None:
        super().__init__(session.stop, what, thread="lease")
        self._lease = lease
        self._timeout = timeout
        self._percent = 0

    def report(self, done: int, total: int) -> None:
        """Record the progress of the transfer in bytes; 100 % is reported only when it is complete."""
        self._percent = min(99, max(0, 100 * done // total)) if total > 0 else 0

    def _run(self) -> None:
        last_success = time.monotonic()
        interval = min(self._timeout / 4, MAX_BEAT_SECONDS)
        while True:
            try:
                self._lease.HttpNfcLeaseProgress(self._percent)
                last_success = time.monotonic()
            except Exception as error:
                if (
                    isinstance(error, vmodl.MethodFault)
                    or time.monotonic() - last_success > self._timeout - interval
                ):
                    return self._set_lost(f"the export lease was lost: {_error_text(error)}")
                log.warning("a keep-alive of the export lease failed", why=str(error))
            if not self._wait(interval):
                return None


class ReadyLease:
    """A lease that is ready."""

    def __init__(self, urls: list[Any], keep_alive: LeaseKeepAlive) -> None:
        self.urls = urls
        """HttpNfcLeaseDeviceUrl, one for each file."""
        self.keep_alive = keep_alive


@contextmanager
def acquire(
    session: Session, vm: Any, what: str, *, clock: TimeFunction = time.monotonic
) -> Iterator[ReadyLease]:
    """A lease on the VM's disks for as long as the body runs.

    Raises:
        StepError: BUSY if others kept it too long; a refusal as mapped by faults.py; BROKEN_STREAM if it
            is lost while the body runs.
        Stopped: a stop was requested.
    """
    lease = _export_vm(session, vm, what, clock)
    try:
        info = _await_ready(session, lease, what, clock)
        with LeaseKeepAlive(session, lease, info.leaseTimeout, what) as keep_alive:
            yield ReadyLease(list(info.deviceUrl), keep_alive)
    except BaseException as error:
        _abort(lease, error)
        raise
    _complete(lease)


def _export_vm(session: Session, vm: Any, what: str, clock: TimeFunction) -> Any:
    """VirtualMachine.ExportVm, once it is granted: a host may allow one export per VM at a time."""
    start = clock()
    last_logged, pause = start - LOG_SECONDS, SHORTEST_PAUSE_SECONDS
    while True:
        session.stop.check()
        refusal = None
        with faults.as_step_error(what, session.endpoint):
            try:
                return vm.ExportVm()
            except vmodl.MethodFault as fault:
                if not faults.is_busy(fault) or clock() - start >= WAIT_SECONDS:
                    raise
                refusal = fault
        if clock() - last_logged >= LOG_SECONDS:
            last_logged = clock()
            log.info(
                "waiting for the host's only export lease",
                why=faults.text(refusal),
                seconds=round(last_logged - start),
            )
        session.stop.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _await_ready(session: Session, lease: Any, what: str, clock: TimeFunction) -> Any:
    """Wait for HttpNfcLease.state to become `ready`; HttpNfcLease.info is set only then."""
    end = clock() + READY_SECONDS
    while True:
        row = _read_state(session, lease, what)
        match str(row.get("state", "")):
            case "ready":
                return row.get("info")
            case "error" | "done":
                fault = row.get("error")
                raise (
                    faults.from_fault(what, fault)
                    if fault
                    else lost_fault(what, "the export lease ended at once")
                )
            case _:  # initializing
                pass
        if clock() >= end:
            raise StepError(
                Exit.UNREACHABLE, what, "the export lease does not become ready", "it is tried again"
            )
        session.stop.sleep(POLL_SECONDS)


def _read_state(session: Session, lease: Any, what: str) -> collector.Row:
    try:
        return collector.read_one(session, lease, "state", "error", "info")
    except StepError as error:
        if error.code is Exit.NOT_FOUND:  # someone ended the lease; the VM still exists
            raise lost_fault(what, "the export lease no longer exists") from error
        raise


def _abort(lease: Any, error: BaseException) -> None:
    """HttpNfcLease.HttpNfcLeaseAbort. If it fails, the following log-out ends the lease."""
    log.info("aborting the export lease", why="asked to stop" if isinstance(error, Stopped) else str(error))
    try:
        lease.HttpNfcLeaseAbort()
    except Exception as failure:
        log.info("the lease could not be aborted; it ends with the session", why=_error_text(failure))


def _complete(lease: Any) -> None:
    """HttpNfcLease.HttpNfcLeaseComplete. The bytes are proved complete by now: a failure is only logged."""
    try:
        lease.HttpNfcLeaseProgress(100)
        lease.HttpNfcLeaseComplete()
    except Exception as failure:
        log.warning("the lease could not be completed; it ends with the session", why=_error_text(failure))


def _error_text(failure: Exception) -> str:
    return (
        faults.text(failure)
        if isinstance(failure, vmodl.MethodFault)
        else str(failure) or type(failure).__name__
    )
