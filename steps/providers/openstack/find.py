"""Servers by UUID or by name."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Any

from steps.model import wildcards
from steps.model.contract import Exit, StepError
from steps.providers.openstack.cloud import Cloud
from steps.providers.openstack.facts import index_by_id


def server(cloud: Cloud, name_or_id: str) -> Any:
    """The server with that UUID or name.

    Raises:
        StepError: NOT_FOUND; AMBIGUOUS, with all servers of that name.
    """
    what = f"find server {name_or_id!r}"
    if is_uuid(name_or_id):
        by_uuid = cloud.find(what, lambda: cloud.compute.get_server(name_or_id))
        if by_uuid is not None:
            return by_uuid
    servers = list(
        index_by_id(
            cloud.read(what, lambda: _candidates(cloud, name_or_id)), "servers", key=lambda item: item.id
        )
    )
    if len(servers) == 1:
        return cloud.read(what, lambda: cloud.compute.get_server(servers[0].id))
    raise _ambiguous(name_or_id, servers) if servers else _missing(cloud, name_or_id)


def is_uuid(text: str) -> bool:
    """Whether Nova would treat this as a server's id."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _candidates(cloud: Cloud, name: str) -> list[Any]:
    """Servers that bear the name: Nova takes it for a regular expression of its database."""
    pattern = re.sub(r"[^A-Za-z0-9_-]+", ".+", name)
    return [
        candidate
        for candidate in cloud.compute.servers(details=False, name=pattern)
        if candidate.name == name
    ]


def _ambiguous(name_or_id: str, servers: Sequence[Any]) -> StepError:
    return StepError(
        Exit.AMBIGUOUS,
        f"{len(servers)} servers are called {name_or_id!r}",
        ", ".join(sorted(candidate.id for candidate in servers)),
        "set spec.virtualMachineName to the UUID of one of them",
    )


def _missing(cloud: Cloud, name_or_id: str) -> StepError:
    region = f" in region {cloud.plan.region}" if cloud.plan.region else ""
    return StepError(
        Exit.NOT_FOUND,
        f"there is no server {name_or_id!r} in the project{region}",
        remedy=wildcards.remedy(
            name_or_id, "check its name, the project and the region (vmferry inventory lists the servers)"
        ),
    )
