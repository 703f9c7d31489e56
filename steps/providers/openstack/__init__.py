"""OpenStack as a source: servers of one project, over the APIs of Nova, Cinder, Glance and Neutron.

cloud     log in, ask                    find     a server by name or UUID
faults    errors                         facts    what the services know of it; describe: as a document
copies    snapshot, volume, image        power    shutting it down and starting it, once; export: one disk
quotas    room for the copies            history  whether it was started
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from steps.disk.land import Landed
from steps.disk.volume import Place
from steps.model.machine import Disk, Machine, Tag
from steps.model.plan import DiskFormat, PowerPlan
from steps.model.power import PowerMark
from steps.providers import Access, Inventory, Marker, ProgressCallback, Provider
from steps.providers.openstack import cloud, describe, export, facts, find, history, marking, power, quotas
from steps.providers.openstack.copies import Copies

__all__ = ["OpenstackProvider", "connect"]

log = structlog.get_logger()


@contextmanager
def connect(access: Access) -> Iterator[Provider]:
    """Open the source: a token of the project.

    Raises:
        StepError: INVALID (endpoint, credentials, region), UNREACHABLE, UNTRUSTED, DENIED.
    """
    with cloud.connect(access) as project:
        yield OpenstackProvider(project, access)


class OpenstackProvider:
    """A logged-in project, as a provider."""

    def __init__(self, project: cloud.Cloud, access: Access) -> None:
        self._cloud = project
        self._access = access

    def verify(self) -> None:
        """Prove that servers may be listed; `connect` has checked the services. Changes nothing."""
        query = {"details": False, "limit": 1, "paginated": False}
        self._cloud.read("list servers", lambda: list(self._cloud.compute.servers(**query)))

    def describe(self, vm: str, folder: str | None) -> Machine:
        """`folder` is ignored: a project has no folders. Raises StepError, if no disk can be read."""
        del folder
        cloud.check_image_service(self._cloud)
        server_facts = facts.read_one(self._cloud, find.server(self._cloud, vm))
        machine = describe.machine(server_facts)
        disk_volumes = [
            (disk.id, volume)
            for disk in machine.disks
            for volume in server_facts.volumes
            if volume.id == disk.key
        ]
        quota_concerns = quotas.concerns(self._cloud, self._access.run, disk_volumes)
        return machine.model_copy(update={"concerns": (*machine.concerns, *quota_concerns)})

    def networks(self) -> frozenset[str]:
        network_names = facts.network_names(facts.read_networks(self._cloud))
        return frozenset(network_names) | frozenset(network_names.values())

    def inventory(self) -> Inventory:
        """All servers of the project by name, except those with a deleted flavor: they cannot be shown."""
        servers = list(facts.read_all(self._cloud))
        for server_facts in servers:
            if server_facts.flavor is None:
                log.warning("the server is left out: its flavor was deleted", server=server_facts.server.name)
        machines = tuple(
            describe.machine(server_facts).model_copy(update={"tags": facts.tags(server_facts)})
            for server_facts in servers
            if server_facts.flavor is not None
        )
        names = tuple(sorted(facts.network_names(facts.read_networks(self._cloud)).values()))
        return Inventory(machines=machines, networks=names, folders=())

    def tags(self, machine: Machine) -> tuple[Tag, ...]:
        """The server's metadata, and its tags."""
        return facts.read_tags(self._cloud, machine)

    def power_off(self, machine: Machine, policy: PowerPlan) -> None:
        power.power_off(self._cloud, self._access.run, machine, policy)

    def power_on(self, machine: Machine) -> None:
        power.power_on(self._cloud, machine)

    def is_on(self, machine: Machine) -> bool:
        return power.is_on(self._cloud, machine)

    def power_mark(self, machine: Machine) -> PowerMark:
        return history.mark(self._cloud, machine)

    def was_started_since(self, machine: Machine, mark: PowerMark) -> str | None:
        return history.started_since(self._cloud, machine, mark)

    def was_shut_down_since(self, machine: Machine, mark: PowerMark) -> bool:
        return history.shut_down_since(self._cloud, machine, mark)

    def marker(self, machine: Machine) -> Marker:
        return marking.ServerMarker(self._cloud, machine)

    def export(
        self, machine: Machine, disk: Disk, out: Place, disk_format: DiskFormat, report: ProgressCallback
    ) -> Landed:
        return export.export(self._cloud, self._access.run, machine, disk, out, disk_format, report)

    def release(self) -> list[str]:
        return Copies(cloud=self._cloud, run=self._access.run).release()
