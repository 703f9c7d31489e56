"""Stops the VM of an import that failed or is undone, and marks it and its disks stale. Deletes nothing.

Source and target must never run the same VM at the same time. A stale VM is not used by a later run of the
import: `build` refuses one that somebody has used, and rebuilds one that never ran.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog

from steps.model.contract import Exit, StepError
from steps.model.kinds import MACHINE, Kind, Object
from steps.model.plan import Plan
from steps.model.vm_fields import HALTED
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from steps.targets.cluster import markers
from steps.targets.cluster.ownership import annotations_of, made_by_import
from steps.targets.cluster.serving import POLL

log = structlog.get_logger()

HALT_SECONDS: Final = 300.0
"""How long the guest may take to shut down: KubeVirt ends it after its terminationGracePeriodSeconds."""


def halt(
    plan: Plan,
    cluster: Cluster,
    stop: Stop,
    kinds: Sequence[Kind],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> list[str]:
    """Stop and mark what this import has made; returns it as `Kind namespace/name`, in the order of `kinds`.

    `kinds` are those of the target's objects, in the order in which a person deletes them.

    Raises:
        StepError: BUSY, if the VM does not stop in time; the errors of the API.
    """
    for machine in made_by_import(cluster, plan, MACHINE):
        _stop(cluster, machine, stop, clock)
    remaining = []
    for kind in kinds:
        for resource in made_by_import(cluster, plan, kind):
            metadata = resource["metadata"]
            if markers.STALE not in annotations_of(resource):
                mark = {"metadata": {"annotations": {markers.STALE: _now()}}}
                cluster.patch(kind, metadata["name"], mark, metadata["namespace"])
            remaining.append(f"{kind.kind} {metadata['namespace']}/{metadata['name']}")
    return remaining


def _stop(cluster: Cluster, machine: Object, stop: Stop, clock: Callable[[], float]) -> None:
    name, namespace = machine["metadata"]["name"], machine["metadata"]["namespace"]
    if machine["spec"].get("runStrategy") != HALTED:
        log.info("stopping the VM at the target", vm=f"{namespace}/{name}")
        # `running` and `runStrategy` exclude each other: a person may have set the former.
        change = {"spec": {"running": None, "runStrategy": HALTED}}
        cluster.patch(MACHINE, name, change, namespace)
    await_stopped(cluster, name, namespace, stop, clock)


def await_stopped(
    cluster: Cluster,
    name: str,
    namespace: str,
    stop: Stop,
    clock: Callable[[], float] = time.monotonic,
    *,
    seconds: float = HALT_SECONDS,
) -> None:
    """Wait until a VM that is asked to stop has no instance.

    Raises:
        StepError: BUSY, after so many seconds.
    """
    end = clock() + seconds
    while (current := cluster.get(MACHINE, name, namespace)) is not None and is_active(current):
        if clock() > end:
            raise StepError(
                Exit.BUSY,
                f"VM {namespace}/{name} does not stop",
                f"after {seconds / 60:g} minutes it is {_printable(current)}",
                f"stop it by hand: virtctl stop --force --grace-period=0 {name} -n {namespace}",
            )
        stop.sleep(POLL)


def is_active(machine: Object) -> bool:
    """Whether it has a running instance (VirtualMachineStatus.created, .ready in kubevirt.io/api core/v1)."""
    status = machine.get("status") or {}
    return bool(status.get("created") or status.get("ready"))


def _printable(machine: Object) -> str:
    return str((machine.get("status") or {}).get("printableStatus") or "in an unknown state")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
