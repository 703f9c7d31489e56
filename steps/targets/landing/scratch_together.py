"""Proves before the VM is shut down that one node can mount the scratch of all its disks, for `inspect`.

A class with `WaitForFirstConsumer` provides each claim where its first pod runs. With storage of a node, the
claims of a VM could end on different nodes, and no pod could ever mount all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import structlog

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.machine import Machine
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from steps.targets.cluster.run_objects import RunObjects
from steps.targets.landing.placement import Placement

log = structlog.get_logger()

NODE_SECONDS: Final = 5 * 60.0
"""Seconds that the claims may take to be provided, and the pod to get its node."""


def place_scratch(
    plan: Plan,
    machine: Machine,
    cluster: Cluster,
    stop: Stop,
    *,
    release: str,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Let a pod use the scratch of all disks, if a later stage mounts all of it.

    The chart grants the right on pods only where an admission policy limits it. Without the right nothing is
    proved.

    Raises:
        StepError: UNREACHABLE, with the scheduler's words, if no node can do that.
    """
    if not plan.guest.stages or len(machine.disks) < 2:
        return
    claims = {names.claim(plan.run, disk.id): "Filesystem" for disk in machine.disks}
    placement = Placement(plan, cluster, release)
    try:
        placement.ensure(claims, None, RunObjects(plan, cluster, release).owner_reference())
    except StepError as error:
        if error.code is not Exit.DENIED:
            raise
        log.warning(f"not checked whether one node can mount all disks: {error}")
        return
    placement.await_node(stop, clock, NODE_SECONDS)
    placement.remove()
