"""Which claims an import will still create: the room for those of an earlier attempt is taken already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from steps.model import names
from steps.model.contract import Exit, StepError
from steps.model.kinds import CLAIM, Object
from steps.model.machine import Disk, DiskId, Machine
from steps.model.mapping import disk_way
from steps.model.matching import storage_rule
from steps.model.plan import DiskWay, Plan
from steps.runtime.cluster import Cluster
from steps.targets.checks.facts import ClaimNeed
from steps.targets.cluster import markers
from steps.targets.cluster.ownership import annotations_of, labels_of
from steps.targets.cluster.scratch_limit import requested_bytes


def new_claims(
    cluster: Cluster, plan: Plan, machine: Machine, claims: Mapping[DiskId, Object]
) -> Iterator[ClaimNeed]:
    """The claims that do not exist; `claims` are the manifests of the volumes by disk.

    Raises:
        StepError: the API server does not answer.
    """
    landed = _landed(cluster, plan, machine) if plan.target.way is not DiskWay.PULL else frozenset()
    for disk in machine.disks:
        claim = claims.get(disk.id)
        if claim is None or (disk.id in landed and disk_way(disk, plan.target) is DiskWay.LAND):
            continue
        if cluster.get(CLAIM, claim["metadata"]["name"], plan.target.namespace) is None:
            yield claim_need(plan, disk, claim)


def claim_need(plan: Plan, disk: Disk, claim: Object, title: str = "") -> ClaimNeed:
    """What this claim needs. `title` is its name for messages; the default is that of the disk."""
    rule = storage_rule(disk, plan.target)
    return ClaimNeed(
        title=title or disk.id,
        storage_class=str(claim["spec"].get("storageClassName") or ""),
        size=requested_bytes(claim),
        content=disk.allocated or 0,
        wanted_access_mode="" if title else rule.access_mode,
        wanted_volume_mode="" if title else rule.volume_mode,
    )


def _landed(cluster: Cluster, plan: Plan, machine: Machine) -> frozenset[str]:
    """The disks for whose landing a claim exists already, in the release namespace.

    Without the right to look for it everywhere, each disk counts: a retry must not be refused for room that
    its own claims take.
    """
    try:
        found = cluster.find(CLAIM, "", {names.LABEL_RUN: plan.run})
    except StepError as error:
        if error.code is not Exit.DENIED:
            raise
        return frozenset(disk.id for disk in machine.disks)
    unfinished = [claim for claim in found if markers.UNFINISHED in annotations_of(claim)]
    return frozenset(labels_of(claim).get(names.LABEL_DISK, "") for claim in unfinished)
