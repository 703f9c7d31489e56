"""Whether vSphere records that the guest was asked to shut down: that outlives the pod that asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from pyVmomi import vim, vmodl

from steps.model.contract import Exit, StepError
from steps.providers.vmware import collector, faults
from steps.providers.vmware.session import Session

log = structlog.get_logger()

TASK: Final = "VirtualMachine.shutdownGuest"
"""TaskInfo.descriptionId under which vCenter lists a ShutdownGuest."""
EVENT: Final = "VmGuestShutdownEvent"
"""Also posted for one. A guest that shuts down by itself posts it without a user (Event.userName)."""

_TASK_PROPERTIES: Final = ("info.descriptionId", "info.state", "info.reason", "info.queueTime")


def seconds_since_request(session: Session, vm: Any, window: float) -> float | None:
    """Seconds since this account first asked the guest, within the last `window` seconds; None if it did not.

    Events before the VM was last switched on do not count. All times are the server's own: how
    its clock differs from ours does not matter. The sources are the VM's recent tasks, which vSphere
    soon forgets, and its events.

    Raises:
        StepError: as mapped by faults.py.
    """
    with faults.as_step_error("cannot read from the source", session.endpoint):
        now: datetime = _service_instance(session).CurrentTime()
    since = now - timedelta(seconds=window)
    boot_time = collector.read_one(session, vm, "runtime.bootTime").get("runtime.bootTime")
    since = max(since, boot_time) if boot_time is not None else since
    readers: tuple[Callable[[], Iterator[datetime]], ...] = (
        lambda: _task_times(session, vm),
        lambda: _event_times(session, vm, since),
    )
    times = [time for read in readers for time in read() if time >= since]
    return max(0.0, (now - min(times)).total_seconds()) if times else None


def _service_instance(session: Session) -> Any:
    reference: Any = vim.ServiceInstance
    return reference("ServiceInstance", session.stub)


def _task_times(session: Session, vm: Any) -> Iterator[datetime]:
    """The queue times of this account's requests among the VM's recent tasks, without failed ones."""
    for ref in collector.read_one(session, vm, "recentTask").get("recentTask", ()):
        info = read_task(session, ref)
        if info.get("info.descriptionId") != TASK or info.get("info.state") == "error":
            continue
        if _is_same_account(getattr(info.get("info.reason"), "userName", ""), session.user):
            yield info.get("info.queueTime")


def read_task(session: Session, ref: Any) -> collector.Row:
    """A task of a VM; without data if vSphere has forgotten it in the meantime."""
    try:
        return collector.read_one(session, ref, *_TASK_PROPERTIES)
    except StepError as error:
        if error.code is not Exit.NOT_FOUND:
            raise
        return collector.Row(ref, {})


def _event_times(session: Session, vm: Any, since: datetime) -> Iterator[datetime]:
    """The times of this account's requests among the events; none if the events cannot be read."""
    spec: Any = vim.event.EventFilterSpec
    filter_spec = spec(
        entity=spec.ByEntity(entity=vm, recursion="self"),
        time=spec.ByTime(beginTime=since),
        eventTypeId=[EVENT],
    )
    with faults.as_step_error("cannot read from the source", session.endpoint):
        try:
            events = session.content.eventManager.QueryEvents(filter_spec)
        except vmodl.MethodFault as fault:  # the tasks must suffice
            log.info("the VM's events cannot be read", why=faults.text(fault))
            return
    for event in events or ():
        if _is_same_account(event.userName, session.user):
            yield event.createdTime


def _is_same_account(first: str, second: str) -> bool:
    """Whether two names mean the same account: vSphere's accounts ignore case."""
    return first.casefold() == second.casefold()
