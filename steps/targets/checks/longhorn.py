"""Whether Longhorn has room for volumes, by the rules of its scheduler. Pure.

longhorn-manager scheduler/replica_scheduler.go: a disk takes a replica if enough of it is free, and if the
sizes of all its replicas stay within what may be provisioned. The replicas of a volume are on different
nodes. With fewer replicas than requested a volume works, but is degraded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from steps.targets.checks.facts import ClaimNeed, LonghornDisk, LonghornPool

REPLICAS: Final = "numberOfReplicas"
DEFAULT_REPLICAS: Final = 3
OVER_PROVISIONING: Final = 100
MINIMAL_AVAILABLE: Final = 25
"""Longhorn's defaults: parameters of a class, and settings in percent."""


@dataclass(frozen=True)
class Placement:
    """How many replicas of the volumes find a place."""

    wanted: int
    """Replicas of each volume."""
    least: int
    """Replicas of the volume that gets the fewest; 0: a volume cannot be created."""
    homeless: tuple[ClaimNeed, ...]
    """The volumes without any replica."""
    largest: int
    """Bytes of the largest volume for which a disk has room before any of these volumes."""
    free: int
    """The most free bytes of a disk."""


def place(pool: LonghornPool, parameters: Mapping[str, str], claims: Iterable[ClaimNeed]) -> Placement:
    """Place the replicas of all volumes, the largest ones first, each on the disk with the most room."""
    engine = parameters.get("dataEngine") or "v1"
    over = pool.over_provisioning.get(engine, OVER_PROVISIONING)
    minimal = pool.minimal_available.get(engine, MINIMAL_AVAILABLE)
    disks = [disk for disk in pool.disks if _is_eligible(disk, engine, parameters)]
    largest = max((_room(disk, over, minimal) for disk in disks), default=0)
    wanted = _replicas(parameters)
    counts: list[tuple[ClaimNeed, int]] = []
    for claim in sorted(claims, key=lambda one: one.size, reverse=True):
        count = 0
        used: set[str] = set()
        for _ in range(wanted):
            found = _best(disks, used, claim, over, minimal)
            if found is None:
                break
            count += 1
            used.add(disks[found].node)
            disks[found] = replace(disks[found], scheduled=disks[found].scheduled + claim.size)
        counts.append((claim, count))
    return Placement(
        wanted=wanted,
        least=min((count for _, count in counts), default=wanted),
        homeless=tuple(claim for claim, count in counts if count == 0),
        largest=max(largest, 0),
        free=max((disk.available for disk in disks), default=0),
    )


def _replicas(parameters: Mapping[str, str]) -> int:
    text = str(parameters.get(REPLICAS) or "")
    return int(text) if text.isdecimal() and int(text) > 0 else DEFAULT_REPLICAS


def _is_eligible(disk: LonghornDisk, engine: str, parameters: Mapping[str, str]) -> bool:
    """Whether the class may use the disk: its engine and its tags fit."""
    return (
        disk.is_block == (engine == "v2")
        and _tags(parameters.get("diskSelector")) <= disk.tags
        and _tags(parameters.get("nodeSelector")) <= disk.node_tags
    )


def _tags(text: str | None) -> frozenset[str]:
    return frozenset(tag.strip() for tag in (text or "").split(",") if tag.strip())


def _best(
    disks: Sequence[LonghornDisk], used: set[str], claim: ClaimNeed, over: int, minimal: int
) -> int | None:
    """The index of the disk with the most room that fits; None without one."""
    fits = [
        index
        for index, disk in enumerate(disks)
        if disk.node not in used and _room(disk, over, minimal) >= claim.size
    ]
    return max(fits, key=lambda index: _room(disks[index], over, minimal), default=None)


def _room(disk: LonghornDisk, over: int, minimal: int) -> int:
    """Bytes of the largest replica that may be scheduled to the disk."""
    if disk.maximum <= 0 or disk.available <= disk.maximum * minimal // 100:
        return 0
    return (disk.maximum - disk.reserved) * over // 100 - disk.scheduled
