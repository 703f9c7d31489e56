"""Deletes the objects of an abandoned import: the VM first, then its volumes.

In a cluster owner references do this when the import is deleted. Objects of `vmferry run` have no owner.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, DATA_VOLUME, IMAGE, MACHINE, Kind, Object
from steps.model.plan import Plan
from steps.runtime.cluster import Cluster
from steps.runtime.stop import Stop
from steps.targets.cluster.ownership import made_by_import
from steps.targets.cluster.serving import POLL
from steps.targets.cluster.vm_objects import is_handed_over

PATIENCE: Final = 120.0
"""Seconds that the deletion of each may take."""


def discard(
    plan: Plan,
    cluster: Cluster,
    stop: Stop,
    kinds: Sequence[Kind],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> list[str]:
    """Delete the objects with the import's uid, in the order of `kinds`; returns `Kind namespace/name`.

    Raises:
        StepError: CONFLICT, before anything is deleted, if the VM already belongs to its owner; BUSY, if
            a deletion takes too long.
    """
    for machine in made_by_import(cluster, plan, MACHINE):
        _refuse_handed_over(machine)
    deleted = []
    for kind in kinds:
        for resource in _deletable_objects(plan, cluster, kind):
            name, namespace = resource["metadata"]["name"], resource["metadata"]["namespace"]
            cluster.delete(kind, name, namespace, uid=resource["metadata"]["uid"])
            deleted.append(f"{kind.kind} {namespace}/{name}")
        _await_deleted(partial(_deletable_objects, plan, cluster, kind), stop, clock)
    _await_deleted(partial(made_by_import, cluster, plan, CLAIM), stop, clock)
    return deleted


def _deletable_objects(plan: Plan, cluster: Cluster, kind: Kind) -> list[Object]:
    """All objects except CDI's claims, which are deleted with their image.

    Harvester refuses to delete such a claim while its image exists (golden image,
    pkg/webhook/resources/persistentvolumeclaim/validator.go).
    """
    owner_kinds = {DATA_VOLUME.kind, IMAGE.kind}
    return [
        resource
        for resource in made_by_import(cluster, plan, kind)
        if not owner_kinds & _owner_kinds(resource)
    ]


def _owner_kinds(resource: Object) -> set[str]:
    return {reference["kind"] for reference in resource["metadata"].get("ownerReferences") or []}


def _refuse_handed_over(machine: Object) -> None:
    if is_handed_over(machine):
        metadata = machine["metadata"]
        raise StepError(
            Exit.CONFLICT,
            f"VM {metadata['namespace']}/{metadata['name']} was already started or handed over",
            "since then it belongs to its owner",
            "delete it if nobody needs it",
        )


def _await_deleted(list_objects: Callable[[], list[Object]], stop: Stop, clock: Callable[[], float]) -> None:
    end = clock() + PATIENCE
    while remaining := list_objects():
        if clock() > end:
            raise StepError(
                Exit.BUSY,
                f"{remaining[0]['kind']} {remaining[0]['metadata']['name']} is still being deleted",
                f"finalizers: {', '.join(remaining[0]['metadata'].get('finalizers') or ['none'])}",
                "run the same command again later",
            )
        stop.sleep(POLL)
