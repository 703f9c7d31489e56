"""Keeps a lease alive, with a fake lease."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pyVmomi import vmodl

from steps.model.contract import Exit, StepError, Stopped
from steps.providers.vmware.lease import LeaseKeepAlive
from steps.runtime.stop import LinkedStop, Stop

gone: Any = vmodl.fault.ManagedObjectNotFound


class Lease:
    """Answers each HttpNfcLeaseProgress as configured, then with success."""

    def __init__(self, *answers: Exception) -> None:
        self.percents: list[int] = []
        self.enough = threading.Event()
        self._answers = list(answers)

    def wait(self) -> None:
        assert self.enough.wait(10)

    def HttpNfcLeaseProgress(self, percent: int) -> None:  # noqa: N802 - vSphere's name
        self.percents.append(percent)
        if len(self.percents) > 2:
            self.enough.set()
        if self._answers:
            raise self._answers.pop(0)


def keep(lease: Lease, stop: Stop, body: Callable[[LeaseKeepAlive], None]) -> None:
    session: Any = SimpleNamespace(stop=stop)
    with LeaseKeepAlive(session, lease, 0.2, "cannot export") as alive:
        body(alive)


def test_a_lost_lease_stops_the_transfer_with_its_reason() -> None:
    with pytest.raises(StepError, match="cannot export") as caught:
        keep(Lease(gone(msg="The lease has gone.")), Stop(), lambda alive: alive.stop.sleep(30))
    assert caught.value.code is Exit.BROKEN_STREAM
    assert "The lease has gone." in str(caught.value)


def test_a_connection_that_stays_broken_is_a_lost_lease() -> None:
    with pytest.raises(StepError, match="cannot export") as caught:
        keep(Lease(*[ConnectionResetError()] * 99), Stop(), lambda alive: alive.stop.sleep(30))
    assert caught.value.code is Exit.BROKEN_STREAM


def test_one_failed_call_does_not_lose_the_lease() -> None:
    lease = Lease(ConnectionResetError())
    keep(lease, Stop(), lambda _: lease.wait())
    assert len(lease.percents) > 2


def test_a_lease_lost_after_the_last_byte_is_not_a_failure() -> None:
    lease = Lease(gone())
    keep(lease, Stop(), lambda alive: until_set(alive.stop))


def until_set(stop: Stop) -> None:
    with pytest.raises(Stopped):
        stop.sleep(30)


@pytest.mark.parametrize(("done", "total", "percent"), [(0, 0, 0), (1, 3, 33), (3, 3, 99), (9, 3, 99)])
def test_the_percentage_is_reported(done: int, total: int, percent: int) -> None:
    lease = Lease()

    def body(alive: LeaseKeepAlive) -> None:
        alive.report(done, total)
        lease.wait()

    keep(lease, Stop(), body)
    assert lease.percents[-1] == percent


def test_an_error_of_the_transfer_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        keep(Lease(), Stop(), lambda _: print(1 // 0))  # noqa: T201


@pytest.mark.parametrize(
    "act", [LinkedStop.check, lambda stop: stop.sleep(30), lambda stop: stop.sleep(0.01)]
)
def test_a_linked_stop_obeys_its_parent(act: Callable[[LinkedStop], None]) -> None:
    parent = Stop()
    linked = LinkedStop(parent)
    linked.sleep(0.001)
    assert not linked.is_set()
    parent.set()
    assert linked.is_set()
    with pytest.raises(Stopped):
        act(linked)


def test_a_linked_stop_does_not_stop_its_parent() -> None:
    parent = Stop()
    linked = LinkedStop(parent)
    linked.set()
    with pytest.raises(Stopped):
        linked.check()
    assert not parent.is_set()
