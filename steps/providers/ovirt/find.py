"""VMs by id or by name, and the objects around them by id."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from steps.model import wildcards
from steps.model.contract import Exit, StepError
from steps.providers.ovirt.answers import Answer
from steps.providers.ovirt.engine import Engine

log = structlog.get_logger()

LISTED: Final = "nics,disk_attachments.disk"
"""Links to follow for an inventory (oVirt REST API guide, "Following links")."""
WITH_TAGS: Final = f"{LISTED},tags"
"""Those for an inventory with tags."""
DESCRIBED: Final = f"{LISTED},snapshots,cdroms,watchdogs,host_devices"
"""Those for one VM. The engine reads each with a query of its own: too slow for all VMs. It answers 500 if
one of them cannot be followed, so none is here that an engine of version 4.4 lacks."""
_SEARCHABLE: Final = re.compile(r"[\w.\- ]+")
"""Names that can be written between quotes in a search; `*` is a wildcard there."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Objects that VMs refer to by id. An account may not see all of them."""

    clusters: dict[str, Answer] = field(default_factory=dict)
    profiles: dict[str, Answer] = field(default_factory=dict)
    """vNIC profiles."""
    networks: dict[str, Answer] = field(default_factory=dict)
    domains: dict[str, Answer] = field(default_factory=dict)
    """Storage domains."""

    def network_name(self, profile_id: str) -> str:
        """`NETWORK/PROFILE` for a vNIC profile, as the v2v importer writes it; "" if it is unknown."""
        profile = self.profiles.get(profile_id)
        if profile is None:
            return ""
        network = self.networks.get(profile.text("network", "id"))
        name = profile.text("name")
        return f"{network.text('name')}/{name}" if network is not None else name

    def vlan(self, profile_id: str) -> int | None:
        """The VLAN of a vNIC profile's network; None without one."""
        profile = self.profiles.get(profile_id)
        network = self.networks.get(profile.text("network", "id")) if profile is not None else None
        number = network.child("vlan").number("id") if network is not None else None
        return number if number and number <= 4094 else None

    def network_names(self) -> tuple[str, ...]:
        """The names of all vNIC profiles."""
        return tuple(sorted(filter(None, map(self.network_name, self.profiles))))

    def cluster(self, vm: Answer) -> Answer:
        """A VM's cluster; empty if it is unknown."""
        return self.clusters.get(vm.text("cluster", "id"), Answer({}))

    def cluster_name(self, vm: Answer) -> str:
        """The name of a VM's cluster; "" if it is unknown."""
        return self.cluster(vm).text("name")


def surroundings(engine: Engine) -> Surroundings:
    """Everything that the account may see."""
    return Surroundings(
        clusters=_by_id(engine, "clusters", "cluster"),
        profiles=_by_id(engine, "vnicprofiles", "vnic_profile"),
        networks=_by_id(engine, "networks", "network"),
        domains=_by_id(engine, "storagedomains", "storage_domain"),
    )


def _by_id(engine: Engine, path: str, item: str) -> dict[str, Answer]:
    try:
        answer = engine.read(f"list the {path}", f"/{path}")
    except StepError as error:
        if error.code not in (Exit.DENIED, Exit.NOT_FOUND):
            raise
        log.info(f"the account may not list the {path}", why=error.why)
        return {}
    return {element.required("id"): element for element in answer.elements(item)}


def vm(engine: Engine, name_or_id: str, cluster: str, around: Surroundings) -> Answer:
    """The VM with that id or name, as it will be at its next start, with everything to describe it.

    Args:
        engine: the engine.
        name_or_id: of the VM.
        cluster: name or id of its cluster; "": any.
        around: the clusters.

    Raises:
        StepError: NOT_FOUND; AMBIGUOUS, with the ids and clusters of all VMs of that name.
    """
    if is_id(name_or_id):
        found = read(engine, name_or_id)
        if found is not None and _is_in(found, cluster, around):
            return found
    named = [candidate for candidate in _candidates(engine, name_or_id) if _is_in(candidate, cluster, around)]
    if len(named) == 1:
        found = read(engine, named[0].required("id"))
        if found is not None:
            return found
    raise _ambiguous(name_or_id, named, around) if len(named) > 1 else _missing(name_or_id, cluster)


def read(engine: Engine, vm_id: str) -> Answer | None:
    """The VM with that id and all details; None if there is none.

    With `next_run`: a change of the configuration that waits for the next start of the VM counts, as the VM
    is off when it is imported.
    """
    query = {"follow": DESCRIBED, "all_content": "true", "next_run": "true"}
    found = engine.find(f"read the VM {vm_id}", f"/vms/{vm_id}", **query)
    return found or None


def all_vms(engine: Engine, cluster: str, around: Surroundings) -> Iterator[Answer]:
    """All VMs, of one cluster or of all."""
    vms = engine.pages("list the VMs", "/vms", "vm", follow=WITH_TAGS, all_content="true")
    return (found for found in vms if _is_in(found, cluster, around))


def is_id(text: str) -> bool:
    """Whether the engine would accept this as an id."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _candidates(engine: Engine, name: str) -> list[Answer]:
    """VMs of exactly that name: a search ignores the case."""
    search = f'name="{name}"' if _SEARCHABLE.fullmatch(name) else ""
    what = f"find the VM {name!r}"
    return [vm for vm in engine.pages(what, "/vms", "vm", search) if vm.text("name") == name]


def _is_in(vm: Answer, cluster: str, around: Surroundings) -> bool:
    return cluster in ("", vm.text("cluster", "id"), around.cluster_name(vm))


def _ambiguous(name: str, vms: Sequence[Answer], around: Surroundings) -> StepError:
    places = sorted(f"{vm.text('id')} in cluster {around.cluster_name(vm) or '?'}" for vm in vms)
    return StepError(
        Exit.AMBIGUOUS,
        f"{len(vms)} VMs are called {name!r}",
        ", ".join(places),
        "set spec.virtualMachineName to the id of one of them, or spec.folder to its cluster",
    )


def _missing(name_or_id: str, cluster: str) -> StepError:
    where = f" in the cluster {cluster!r}" if cluster else ""
    return StepError(
        Exit.NOT_FOUND,
        f"there is no VM {name_or_id!r}{where}",
        remedy=wildcards.remedy(
            name_or_id, "check its name and cluster, and that the account may see it (see vmferry inventory)"
        ),
    )
