"""OpenStack as a source: servers of one project, over the APIs of Nova, Cinder, Glance and Neutron.

cloud     log in, ask                    find     a server by name or UUID
faults    errors                         facts    what the services know of it; describe: as a document
copies    snapshot, volume, image        power    shutting it down, once; export: one disk
quotas    room for the copies
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from steps.disk.land import Landed
from steps.model.machine import Disk, Machine
from steps.model.plan import DiskFormat, PowerPlan
from steps.providers import Access, Inventory, ProgressCallback, Provider
from steps.providers.openstack import cloud, describe, export, facts, find, power, quotas
from steps.providers.openstack.copies import Copies

__all__ = ["Openstack", "connect"]

log = structlog.get_logger()


@contextmanager
def connect(access: Access) -> Iterator[Provider]:
    """Open the source: a token of the project.

    Raises:
        StepError: INVALID (endpoint, credentials, region), UNREACHABLE, UNTRUSTED, DENIED.
    """
    with cloud.connect(access) as opened:
        yield Openstack(opened, access)


class Openstack:
    """A logged-in project, as a provider."""

    def __init__(self, opened: cloud.Cloud, access: Access) -> None:
        self._cloud = opened
        self._access = access

    def verify(self) -> None:
        """Prove that servers may be listed; `connect` has checked the services. Changes nothing."""
        one = {"details": False, "limit": 1, "paginated": False}
        self._cloud.read("list servers", lambda: list(self._cloud.compute.servers(**one)))

    def describe(self, vm: str, folder: str | None) -> Machine:
        """`folder` is ignored: a project has no folders. Raises StepError, if no disk can be read."""
        del folder
        cloud.prove_way(self._cloud)
        found = facts.of_one(self._cloud, find.server(self._cloud, vm))
        machine = describe.machine(found)
        copied = [(disk.id, one) for disk in machine.disks for one in found.volumes if one.id == disk.key]
        lacking = quotas.concerns(self._cloud, self._access.run, copied)
        return machine.model_copy(update={"concerns": (*machine.concerns, *lacking)})

    def networks(self) -> frozenset[str]:
        found = facts.networks(self._cloud)
        return frozenset(found) | frozenset(found.values())

    def inventory(self) -> Inventory:
        """All servers of the project by name, except those with a deleted flavor: they cannot be shown."""
        found = list(facts.of_all(self._cloud))
        for one in found:
            if one.flavor is None:
                log.warning("the server is left out: its flavor was deleted", server=one.server.name)
        machines = tuple(describe.machine(one) for one in found if one.flavor is not None)
        names = tuple(sorted(facts.networks(self._cloud).values()))
        return Inventory(machines=machines, networks=names, folders=())

    def power_off(self, machine: Machine, policy: PowerPlan) -> None:
        power.power_off(self._cloud, self._access.run, machine, policy)

    def export(
        self, machine: Machine, disk: Disk, out: Path, disk_format: DiskFormat, report: ProgressCallback
    ) -> Landed:
        return export.export(self._cloud, self._access.run, machine, disk, out, disk_format, report)

    def release(self) -> list[str]:
        return Copies(cloud=self._cloud, run=self._access.run).release()
