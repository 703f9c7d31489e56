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
_ROOM: Final = (
    "raise the quota or free some of it; disks that are copied one after another need less: then set"
    " spec.skipPreflightChecks: true"
)
_LARGEST: Final = "per_volume_gigabytes"


def concerns(cloud: Cloud, run: str, volumes: Iterable[tuple[str, Any]]) -> Iterator[Concern]:
    """Concerns about limits that are too small; `volumes` are ids of disks (`disk-0`) and Cinder's volumes.

    Raises:
        StepError: the errors of the request to Cinder, except for a refusal: that is a warning.
    """
    wanted = list(volumes)
    if not wanted:
        return
    try:
        limits = _limits(cloud)
    except StepError as error:
        if error.code not in (Exit.DENIED, Exit.NOT_FOUND, Exit.INVALID):
            raise
        yield warn(
            "quota-unknown", f"it is not known whether the project's quota has room for the copies: {error}"
        )
        return
    short = [*_too_large(limits, wanted), *_too_many(limits, needs(wanted, _made(cloud, run)))]
    if short:
        yield block(
            "quota", f"the project's quota at Cinder has no room for the copies: {'; '.join(short)}", _ROOM
        )


def needs(volumes: Iterable[tuple[str, Any]], made: tuple[frozenset[str], frozenset[str]]) -> Counter[str]:
    """How much of each resource the copies need; `made`: disks with a snapshot, and disks with a volume."""
    found: Counter[str] = Counter()
    for disk, volume in volumes:
        for resource, done in zip(("snapshots", "volumes"), made, strict=True):
            if disk in done:
                continue
            for suffix in ("", f"_{volume.volume_type}"):
                found[f"{resource}{suffix}"] += 1
                found[f"gigabytes{suffix}"] += int(volume.size)
    return found


def _made(cloud: Cloud, run: str) -> tuple[frozenset[str], frozenset[str]]:
    """Disks with a snapshot, or a volume, of an earlier attempt: those already count as in use."""
    copies = Copies(cloud=cloud, run=run)
    snapshots, volumes = (
        frozenset(one.name.removeprefix(copies.prefix) for one in found)
        for found in (copies.snapshots(), copies.volumes())
    )
    return snapshots, volumes


def _limits(cloud: Cloud) -> Mapping[str, Any]:
    session = cloud.connection.session

    def ask() -> Mapping[str, Any]:
        response = cloud.volumes.get(f"/os-quota-sets/{session.get_project_id()}?usage=True")
        sdk.raise_from_response(response)
        found: Mapping[str, Any] = response.json()["quota_set"]
        return found

    return cloud.read("read the project's quota at Cinder", ask)


def _too_many(limits: Mapping[str, Any], wanted: Mapping[str, int]) -> Iterator[str]:
    for resource, count in sorted(wanted.items()):
        row = limits.get(resource)
        if not isinstance(row, Mapping) or int(row.get("limit", -1)) < 0:
            continue
        limit, used = int(row["limit"]), int(row.get("in_use", 0)) + int(row.get("reserved", 0))
        if used + count > limit:
            yield f"{resource}: {count} more are needed, {max(0, limit - used)} of {limit} are free"


def _too_large(limits: Mapping[str, Any], volumes: Iterable[tuple[str, Any]]) -> Iterator[str]:
    row = limits.get(_LARGEST)
    limit = int(row.get("limit", -1)) if isinstance(row, Mapping) else -1
    for disk, volume in volumes:
        if 0 <= limit < int(volume.size):
            yield f"{_LARGEST}: {disk} has {volume.size} GiB, but a volume may have {limit}"
