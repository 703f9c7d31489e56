"""Only one controller is active: its Lease is acquired, renewed, awaited, released, or lost."""

from __future__ import annotations

import threading

from controller.operator.lease import NAME, Lease
from steps.model.contract import Exit, StepError
from steps.model.kinds import LEASE, Object
from tests.unit.steps.targets.harvester.fake_cluster import FakeCluster

PERIOD = 0.01


def a_lease(cluster: FakeCluster, lost: threading.Event | None = None) -> Lease:
    event = lost or threading.Event()
    return Lease(cluster, "vmferry", event.set, period=PERIOD)


def acquired(lease: Lease, got: threading.Event) -> None:
    if lease.acquire(threading.Event()):
        got.set()


def holder(cluster: FakeCluster) -> str:
    found = cluster.peek(LEASE, NAME, "vmferry")
    assert found is not None
    return str(found["spec"].get("holderIdentity") or "")


def test_the_lease_is_acquired_renewed_and_released() -> None:
    cluster, lost = FakeCluster(), threading.Event()
    lease = a_lease(cluster, lost)
    assert lease.acquire(threading.Event())
    assert holder(cluster) == lease.identity
    first = cluster.peek(LEASE, NAME, "vmferry")
    assert first is not None
    renewed = first["spec"]["renewTime"]
    while (cluster.peek(LEASE, NAME, "vmferry") or first)["spec"]["renewTime"] == renewed:
        pass
    lease.release()
    assert holder(cluster) == ""
    assert not lost.is_set()


def test_another_controller_waits_for_the_release() -> None:
    cluster = FakeCluster()
    first, second = a_lease(cluster), a_lease(cluster)
    assert first.acquire(threading.Event())
    got = threading.Event()
    waiting = threading.Thread(target=acquired, args=(second, got))
    waiting.start()
    assert not got.wait(10 * PERIOD)
    first.release()
    assert got.wait(5)
    assert holder(cluster) == second.identity
    second.release()
    waiting.join(5)


def test_the_wait_for_the_lease_can_be_stopped() -> None:
    cluster = FakeCluster()
    first, second = a_lease(cluster), a_lease(cluster)
    assert first.acquire(threading.Event())
    ended = threading.Event()
    ended.set()
    assert not second.acquire(ended)
    first.release()


def test_an_expired_lease_is_acquired() -> None:
    now = [0.0]
    cluster = FakeCluster()
    dead = Lease(cluster, "vmferry", lambda: None, clock=lambda: now[0], period=3600)
    assert dead.acquire(threading.Event())
    heir = Lease(cluster, "vmferry", lambda: None, clock=lambda: now[0], period=PERIOD)
    got = threading.Event()
    waiting = threading.Thread(target=acquired, args=(heir, got))
    waiting.start()
    assert not got.wait(10 * PERIOD)
    now[0] += 16
    assert got.wait(5)
    waiting.join(5)
    heir.release()


def test_a_lease_lost_to_another_holder_is_reported() -> None:
    cluster, lost = FakeCluster(), threading.Event()
    lease = a_lease(cluster, lost)
    assert lease.acquire(threading.Event())
    cluster.patch(LEASE, NAME, {"spec": {"holderIdentity": "somebody else", "renewTime": "now"}}, "vmferry")
    assert lost.wait(5)


def test_a_lease_without_answers_for_too_long_is_lost() -> None:
    now = [0.0]
    cluster, lost = FakeCluster(), threading.Event()
    lease = Lease(cluster, "vmferry", lost.set, clock=lambda: now[0], period=PERIOD)
    assert lease.acquire(threading.Event())
    down = StepError(Exit.UNREACHABLE, "the API is away")

    def away(_: FakeCluster) -> None:
        raise down

    cluster.reconcilers.append(away)
    assert not lost.wait(10 * PERIOD)
    now[0] += 11
    assert lost.wait(5)


def test_a_renewal_of_a_deleted_lease_fails() -> None:
    class Emptied(FakeCluster):
        def patch(self, *_: object, **__: object) -> Object | None:
            return None  # as if the API server answers 404

    cluster, lost, now = Emptied(), threading.Event(), [0.0]
    lease = Lease(cluster, "vmferry", lost.set, clock=lambda: now[0], period=PERIOD)
    assert lease.acquire(threading.Event())
    assert not lost.wait(10 * PERIOD)
    now[0] += 11
    assert lost.wait(5)


def test_a_lease_without_a_spec_has_no_holder() -> None:
    cluster = FakeCluster()
    cluster.put(a_manifest(None))
    lease = a_lease(cluster)
    assert lease.acquire(threading.Event())
    assert holder(cluster) == lease.identity
    lease.release()


def test_an_internal_error_loses_the_lease() -> None:
    cluster, lost = FakeCluster(), threading.Event()
    lease = a_lease(cluster, lost)
    assert lease.acquire(threading.Event())

    def broken(_: FakeCluster) -> None:
        raise ZeroDivisionError

    cluster.reconcilers.append(broken)
    assert lost.wait(5)


def a_manifest(spec: Object | None) -> Object:
    metadata = {"name": NAME, "namespace": "vmferry"}
    made: Object = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata}
    return made if spec is None else {**made, "spec": spec}
