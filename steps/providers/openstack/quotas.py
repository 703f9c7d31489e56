"""Whether the project's limits at Cinder allow the copies of an export.

For each volume that is a snapshot and a volume of that, both of the volume's size and type (`copies`). The
disks of a server are copied at the same time, so that there must be room for all of them at once.

`GET /v3/{project}/os-quota-sets/{project}?usage=True` has limit, in_use and reserved of each resource, also
of each volume type (`gigabytes_TYPE`); -1 is no limit (cinder/api/contrib/quotas.py, cinder/quota.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import structlog
from openstack import exceptions as sdk

from steps.model.concerns import block, warn
from steps.model.contract import Exit, StepError
from steps.model.machine import Concern
from steps.providers.openstack.cloud import Cloud
from steps.providers.openstack.copies import Copies

log = structlog.get_logger()

CODE: Final = "quota"
"""The blocking concern; with spec.skipPreflightChecks it only warns (steps/preflight.py)."""
_QUOTA_REMEDY: Final = (
    "raise the quota or free some of it; disks that are copied one after another need less: then set"
    " spec.skipPreflightChecks: true"
)
_PER_VOLUME: Final = "per_volume_gigabytes"


def concerns(cloud: Cloud, run: str, volumes: Iterable[tuple[str, Any]]) -> Iterator[Concern]:
    """Concerns about limits that are too small; `volumes` are ids of disks (`disk-0`) and Cinder's volumes.

    Raises:
        StepError: the errors of the request to Cinder, except for a refusal: that is a warning.
    """
    disk_volumes = list(volumes)
    if not disk_volumes:
        return
    try:
        limits = _read_limits(cloud)
    except StepError as error:
        if error.code not in (Exit.DENIED, Exit.NOT_FOUND, Exit.INVALID):
            raise
        yield warn(
            "quota-unknown", f"it is not known whether the project's quota has room for the copies: {error}"
        )
        return
    shortages = [
        *_volume_size_shortages(limits, disk_volumes),
        *_count_shortages(limits, needs(disk_volumes, _existing_copies(cloud, run))),
    ]
    if shortages:
        yield block(
            "quota",
            f"the project's quota at Cinder has no room for the copies: {'; '.join(shortages)}",
            _QUOTA_REMEDY,
        )


def needs(
    volumes: Iterable[tuple[str, Any]], existing: tuple[frozenset[str], frozenset[str]]
) -> Counter[str]:
    """How much of each resource the copies need; `existing`: disks with a snapshot, disks with a volume."""
    needed: Counter[str] = Counter()
    for disk, volume in volumes:
        for resource, present in zip(("snapshots", "volumes"), existing, strict=True):
            if disk in present:
                continue
            for suffix in ("", f"_{volume.volume_type}"):
                needed[f"{resource}{suffix}"] += 1
                needed[f"gigabytes{suffix}"] += int(volume.size)
    return needed


def _existing_copies(cloud: Cloud, run: str) -> tuple[frozenset[str], frozenset[str]]:
    """Disks with a snapshot, or a volume, of an earlier attempt: those already count as in use."""
    copies = Copies(cloud=cloud, run=run)
    snapshots, volumes = (
        frozenset(item.name.removeprefix(copies.prefix) for item in objects)
        for objects in (copies.snapshots(), copies.volumes())
    )
    return snapshots, volumes


def _read_limits(cloud: Cloud) -> Mapping[str, Any]:
    session = cloud.connection.session

    def request() -> Mapping[str, Any]:
        response = cloud.volumes.get(f"/os-quota-sets/{session.get_project_id()}?usage=True")
        sdk.raise_from_response(response)
        limits: Mapping[str, Any] = response.json()["quota_set"]
        return limits

    return cloud.read("read the project's quota at Cinder", request)


def _count_shortages(limits: Mapping[str, Any], needed: Mapping[str, int]) -> Iterator[str]:
    for resource, count in sorted(needed.items()):
        row = limits.get(resource)
        if not isinstance(row, Mapping) or int(row.get("limit", -1)) < 0:
            continue
        limit, used = int(row["limit"]), int(row.get("in_use", 0)) + int(row.get("reserved", 0))
        if used + count > limit:
            yield f"{resource}: {count} more are needed, {max(0, limit - used)} of {limit} are free"


def _volume_size_shortages(limits: Mapping[str, Any], volumes: Iterable[tuple[str, Any]]) -> Iterator[str]:
    row = limits.get(_PER_VOLUME)
    limit = int(row.get("limit", -1)) if isinstance(row, Mapping) else -1
    for disk, volume in volumes:
        if 0 <= limit < int(volume.size):
            yield f"{_PER_VOLUME}: {disk} has {volume.size} GiB, but a volume may have {limit}"
