"""The power history of a VM in vSphere's events, which record a start also when the VM is off again.

Every event of a server has a key that grows (Event.key), so the order of events does not depend on a clock.
A mark is the newest event that the account can see. What came after it is known completely as long as that
event is still there: vCenter deletes its oldest events first (setting event.maxAge, 30 days), an ESXi host
forgets all of them when it restarts, and a vCenter that was restored from a backup has lost the newest ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, TypeVar

from pyVmomi import vim, vmodl

from steps.model.contract import Exit, StepError
from steps.model.machine import Machine, Power
from steps.model.power import PowerMark
from steps.providers.vmware import collector, describe, faults
from steps.providers.vmware.session import Session
from steps.runtime import retry

STARTS: Final = (
    "VmStartingEvent",
    "VmPoweringOnWithCustomizedDNSEvent",
    "VmPoweredOnEvent",
    "DrsVmPoweredOnEvent",
    "VmResumingEvent",
    "VmResettingEvent",
    "VmGuestRebootEvent",
    "VmDasBeingResetEvent",
    "VmDasBeingResetWithScreenshotEvent",
    "VmRestartedOnAlternateHostEvent",
    "com.vmware.vc.ha.VmRestartedByHAEvent",
)
"""Events after which the guest runs, or has run (vSphere Web Services API, VmEvent, and vCenter's EventEx).

A migration by DRS of a VM that is off (VmMigratedEvent) is none of them.
"""
STOPS: Final = ("VmGuestShutdownEvent", "VmStoppingEvent", "VmPoweredOffEvent")
"""Events of a shutdown. An event has the name of the account that asked for it (Event.userName)."""
RECENT: Final = timedelta(days=1)
"""How far back to look for an event of the VM itself, where the newest one of the server cannot be read."""
PAGE: Final = 500
"""Events in one answer (ReadNextEvents)."""
_SLACK: Final = timedelta(seconds=1)
"""Times in a filter are compared to the second by some versions."""
_ROLE: Final = (
    "give the account the role Read-only on the root object of the vCenter, without propagation, "
    "so that it sees the newest event"
)

T = TypeVar("T")
Scope = Literal["vm", "server"]


def mark(session: Session, machine: Machine) -> PowerMark:
    """The present moment.

    Raises:
        StepError: DENIED, if the VM is off and the account sees no event with which to compare later: while
            it is on, its shutdown will be one.
    """
    now, vm = _current_time(session), session.vm(machine)
    for newest, scope in _newest_events(session, vm, now):
        found = PowerMark(
            time=_text(now),
            server=_server(session),
            position=str(newest.key),
            position_time=_text(newest.createdTime),
            scope=scope,
        )
        if _is_there(session, vm, found):  # an account may read the newest event and not find it among others
            return found
    if _power(session, machine) is Power.OFF:
        raise StepError(
            Exit.DENIED,
            f"it cannot be proved later that {machine.path or machine.name} was not started",
            f"the account {session.user} sees no event of the server, nor of the VM in the last day",
            _ROLE,
        )
    return PowerMark(time=_text(now), server=_server(session))


def started_since(session: Session, machine: Machine, mark: PowerMark) -> str | None:
    """Why the VM may have run since the mark; None if it is proved that it has not.

    Raises:
        StepError: NOT_FOUND, if the VM was deleted; a broken connection, as mapped by faults.py.
    """
    if incomparable := _incomparable(session, machine, mark):
        return incomparable
    starts = [event for event in _events_of(session, machine, STARTS) if _is_after(event, mark)]
    if starts:
        return _sentence(min(starts, key=lambda event: int(event.key)))
    if (power := _power(session, machine)) is not Power.OFF:
        return f"it is {power}"
    if not _is_there(session, session.vm(machine), mark):
        return (
            f"the events since {mark.position_time} are not complete any more: they expired, "
            "or the vCenter was restored from a backup"
        )
    return None


def shut_down_since(session: Session, machine: Machine, mark: PowerMark) -> bool:
    """Whether this account asked for a shutdown since the mark, after which the VM was not started again.

    Raises:
        StepError: a broken connection, as mapped by faults.py.
    """
    if mark.server != _server(session):
        return False
    asked = [
        int(event.key)
        for event in _events_of(session, machine, STOPS)
        if _is_after(event, mark) and event.userName.casefold() == session.user.casefold()
    ]
    started = [int(event.key) for event in _events_of(session, machine, STARTS)]
    return bool(asked) and max(started, default=0) < max(asked)


def last_start(session: Session, machine: Machine) -> str:
    """Identifies the last start that vSphere knows; it changes whenever the VM is started."""
    starts = _events_of(session, machine, STARTS)
    newest = max(starts, key=lambda event: int(event.key), default=None)
    return f"{newest.key}@{_text(newest.createdTime)}" if newest is not None else ""


# --- inside


def _incomparable(session: Session, machine: Machine, mark: PowerMark) -> str:
    """Why the events of this server prove nothing about the mark; else empty."""
    if mark.server != _server(session):
        return "the source's address leads to another vSphere installation, whose events prove nothing"
    row = collector.read_one(session, session.vm(machine), "config.instanceUuid")
    if row.get("config.instanceUuid", "") != machine.instance_uuid:
        return f"{machine.source_id} is another VM now"
    return "" if mark.position else "the import recorded no event with which to compare"


def _is_after(event: Any, mark: PowerMark) -> bool:
    """By the key; by the server's own time where the account saw no event when the mark was taken."""
    if mark.position:
        return int(event.key) > int(mark.position)
    return bool(event.createdTime >= datetime.fromisoformat(mark.time))


def _sentence(event: Any) -> str:
    name = getattr(event, "eventTypeId", None) or type(event).__name__.rpartition(".")[2]
    user = event.userName or "vSphere"
    return f"{user} started it at {_text(event.createdTime)} ({name})"


def _power(session: Session, machine: Machine) -> Power:
    return describe.power(collector.read_one(session, session.vm(machine), "runtime.powerState"))


def _server(session: Session) -> str:
    """AboutInfo.instanceUuid; an ESXi host has none, but only its own VMs."""
    return str(session.content.about.instanceUuid or "")


def _current_time(session: Session) -> datetime:
    reference: Any = vim.ServiceInstance
    now: datetime = _read(session, lambda: reference("ServiceInstance", session.stub).CurrentTime())
    return now


def _newest_events(session: Session, vm: Any, now: datetime) -> Iterator[tuple[Any, Scope]]:
    """The newest event of the server, then the newest one of the VM; and whose it is."""
    latest = collector.read_one(session, session.content.eventManager, "latestEvent").get("latestEvent")
    if latest is not None:
        yield latest, "server"
    events = _events(session, vm, begin=now - RECENT)
    if events:
        yield max(events, key=lambda event: int(event.key)), "vm"


def _is_there(session: Session, vm: Any, mark: PowerMark) -> bool:
    """Whether the mark's event still exists. A restored vCenter reuses keys: the time counts too.

    To the second: vCenter may store a time with fewer digits than it has shown.
    """
    when = datetime.fromisoformat(mark.position_time)
    entity = vm if mark.scope == "vm" else None
    events = _events(session, entity, begin=when - _SLACK, end=when + 2 * _SLACK)
    return any(str(event.key) == mark.position and abs(event.createdTime - when) < _SLACK for event in events)


def _events_of(session: Session, machine: Machine, types: Sequence[str]) -> list[Any]:
    """All events of these types that vSphere still has of a VM."""
    return _events(session, session.vm(machine), types=types)


def _events(
    session: Session,
    entity: Any,
    *,
    types: Sequence[str] = (),
    begin: datetime | None = None,
    end: datetime | None = None,
) -> list[Any]:
    """The events of an entity, or of the whole server, by an EventHistoryCollector.

    QueryEvents has a limit, and an ESXi host lacks it. A new collector stands at its oldest event.
    """
    spec: Any = vim.event.EventFilterSpec
    filter_spec = spec()
    if entity is not None:
        filter_spec.entity = spec.ByEntity(entity=entity, recursion="self")
    if types:
        filter_spec.eventTypeId = list(types)
    if begin is not None or end is not None:
        filter_spec.time = spec.ByTime(beginTime=begin, endTime=end)
    return _read(session, lambda: _collect(session, filter_spec))


def _collect(session: Session, filter_spec: Any) -> list[Any]:
    history = session.content.eventManager.CreateCollectorForEvents(filter_spec)
    try:
        events: list[Any] = []
        while page := history.ReadNextEvents(PAGE):
            session.stop.check()
            events += page
        return events
    finally:
        _destroy(history)


def _destroy(history: Any) -> None:
    """A session has few collectors; it takes them with it when it ends."""
    try:
        history.DestroyCollector()
    except (vmodl.MethodFault, OSError):
        return


def _read(session: Session, call: Callable[[], T]) -> T:
    with faults.as_step_error("cannot read the events of the source", session.endpoint):
        for attempt in retry.attempts(session.stop, faults.is_transient):
            with attempt:
                return call()
    raise AssertionError  # attempts() either succeeds or raises


def _text(when: datetime) -> str:
    """RFC 3339 in UTC."""
    return when.astimezone(UTC).isoformat()
