"""Only one controller is active: a Lease, as in client-go's leader election (tools/leaderelection).

vmferry has its own elector, because that of the `kubernetes` package can neither be stopped nor release the
Lease: every update of the controller would wait for the duration of the Lease.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from steps.model.contract import StepError
from steps.model.kinds import LEASE, Object
from steps.runtime.cluster import ChangedError, Cluster, ExistsError

log = structlog.get_logger()

NAME: Final = "vmferry-controller"
DURATION: Final = 15.0
"""Seconds for which a Lease without renewal still has its holder."""
DEADLINE: Final = 10.0
"""Seconds without renewal after which the holder must stop, before others may start."""
PERIOD: Final = 2.0


class Lease:
    """The right to act. `lost` is called from a thread when the Lease was lost."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        lost: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        period: float = PERIOD,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._lost = lost
        self._clock = clock
        self._period = period
        self.identity = f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"
        self._seen: tuple[str, float] = ("", 0.0)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self, ended: threading.Event) -> bool:
        """Wait until this process holds the Lease; False when `ended` was set before."""
        logged = False
        while not ended.is_set():
            if self._attempt():
                self._thread = threading.Thread(target=self._keep_renewing, name="lease", daemon=True)
                self._thread.start()
                return True
            if not logged:
                log.info(f"another controller holds the Lease {self._namespace}/{NAME}; waiting for it")
                logged = True
            ended.wait(self._period)
        return False

    def release(self) -> None:
        """Release the Lease, so that the next controller need not wait until it expires."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(DEADLINE)
        try:
            lease = self._cluster.get(LEASE, NAME, self._namespace)
            if lease is not None and _spec_of(lease).get("holderIdentity") == self.identity:
                self._write(lease, {"holderIdentity": None, "leaseDurationSeconds": 1})
        except StepError as error:
            log.warning(f"could not release the Lease: {error}")

    def _keep_renewing(self) -> None:
        """Renew until `release`. Any other end, including our own bugs, ends the right to act."""
        try:
            self._renew()
        except Exception:
            log.exception("could not renew the Lease")
        if not self._stop.is_set():
            self._lost()

    def _renew(self) -> None:
        """Returns on `release`, or when the Lease was not renewed in time or has another holder."""
        renewed = self._clock()
        while not self._stop.wait(self._period):
            if self._attempt():
                renewed = self._clock()
            elif self._clock() - renewed > DEADLINE or self._has_other_holder():
                return

    def _has_other_holder(self) -> bool:
        """Whether another holder was seen; a missing answer is not enough."""
        return bool(self._seen[0]) and not self._seen[0].startswith(f"{self.identity} ")

    def _attempt(self) -> bool:
        """Take or renew the Lease; False when it has another holder or the API does not answer."""
        try:
            lease = self._cluster.get(LEASE, NAME, self._namespace)
            if lease is None:
                self._cluster.create(self._new())
                return True
            if not self._may_have(lease):
                return False
            return self._write(lease, self._spec(lease))
        except (ExistsError, ChangedError):
            return False
        except StepError as error:
            log.warning(f"could not renew the Lease: {error}")
            return False

    def _may_have(self, lease: Object) -> bool:
        """Whether it is ours, free, or expired by our own clock: clocks of two hosts are never compared."""
        spec = _spec_of(lease)
        holder = spec.get("holderIdentity") or ""
        sign = f"{holder} {spec.get('renewTime')}"
        if sign != self._seen[0]:
            self._seen = (sign, self._clock())
        duration = float(spec.get("leaseDurationSeconds") or DURATION)
        return holder in ("", self.identity) or self._clock() - self._seen[1] > duration

    def _write(self, lease: Object, spec: Object) -> bool:
        """False when it was deleted after it was read: then any controller may create it again."""
        change = {"metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]}, "spec": spec}
        if self._cluster.patch(LEASE, NAME, change, self._namespace) is None:
            return False
        self._seen = (f"{spec.get('holderIdentity') or ''} {spec.get('renewTime')}", self._clock())
        return True

    def _spec(self, lease: Object) -> Object:
        before = _spec_of(lease)
        ours = before.get("holderIdentity") == self.identity
        transitions = int(before.get("leaseTransitions") or 0)
        now = _micro()
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(DURATION),
            "acquireTime": before.get("acquireTime") if ours else now,
            "renewTime": now,
            "leaseTransitions": transitions if ours else transitions + 1,
        }

    def _new(self) -> Object:
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"name": NAME, "namespace": self._namespace},
            "spec": self._spec({}),
        }


def _spec_of(lease: Object) -> Object:
    """A Lease may have no spec (`kubectl create`): then it has no holder."""
    return lease.get("spec") or {}


def _micro() -> str:
    """A MicroTime (apimachinery meta/v1)."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
