"""vSphere as a source: vCenter and stand-alone ESXi hosts, over their Web Services API.

session   log in, log out            find       datacenters and VMs by name, path, id
hosts     whether the ESXi host of a VM's disks can be reached
leftovers what killed attempts left  describe   a VM (devices, networks, concerns) as a document
tags      of VMs, over another API, and custom attributes
faults    errors                     power      shutting it down, once
privileges  what the account may do  history    whether it was started; power_on: starting it again
lease     an export lease kept alive export     one disk over it
marking   a VM that was imported     tasks      their end
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from steps.disk.land import Landed
from steps.disk.volume import Place
from steps.model.machine import Disk, Machine, Tag
from steps.model.plan import DiskFormat, PowerPlan
from steps.model.power import PowerMark
from steps.providers import Access, Inventory, Marker, ProgressCallback, Provider
from steps.providers.vmware import (
    collector,
    describe,
    export,
    find,
    history,
    hosts,
    leftovers,
    marking,
    networks,
    power,
    power_on,
    privileges,
    tags,
)
from steps.providers.vmware.credentials import Credentials
from steps.providers.vmware.paths import join_path
from steps.providers.vmware.session import Session, log_in, log_out

__all__ = ["VsphereProvider", "connect"]


@contextmanager
def connect(access: Access) -> Iterator[Provider]:
    """Open the source: one session, which is always closed.

    Raises:
        StepError: INVALID (endpoint, credentials), UNREACHABLE, UNTRUSTED, DENIED.
    """
    session = log_in(access)
    try:
        leftovers.end_previous(session, access)
        yield VsphereProvider(session, access)
    finally:
        if log_out(session):
            leftovers.remove_note(access)


class VsphereProvider:
    """An open session, as a provider."""

    def __init__(self, session: Session, access: Access) -> None:
        self._session = session
        self._access = access
        self._known_datacenter: find.Datacenter | None = None

    def verify(self) -> None:
        """Prove that the datacenter exists; the login has proved the rest. Changes nothing."""
        if self._searches_all:
            find.datacenters(self._session, "")
        else:
            self._datacenter()

    def describe(self, vm: str, folder: str | None) -> Machine:
        """Also raises StepError if the host that has its disks cannot be reached from here."""
        datacenter = self._datacenter_of(vm, folder)
        inventory_vm = find.machine(self._session, datacenter, vm, folder)
        hosts.check(self._session, inventory_vm.row.ref)
        row = collector.read_one(
            self._session, inventory_vm.row.ref, *describe.PROPERTIES, *describe.DETAIL_PROPERTIES
        )
        around = networks.with_host_vlans(self._session, networks.read(self._session, [datacenter]), row)
        machine = describe.machine(inventory_vm, row, around)
        privilege_concerns = privileges.concerns(self._session, inventory_vm.row.ref, machine.power)
        return machine.model_copy(update={"concerns": (*machine.concerns, *privilege_concerns)})

    def networks(self) -> frozenset[str]:
        """Those of the datacenter of the VM."""
        return networks.read(self._session, [self._datacenter()]).names

    def inventory(self) -> Inventory:
        """All VMs of the datacenter, or of all datacenters if the plan names none; without sizes in use."""
        datacenters = find.datacenters(self._session, self._access.plan.datacenter)
        datacenter_networks = networks.read(self._session, datacenters)
        machines: list[Machine] = []
        folders: list[str] = []
        for datacenter in datacenters:
            vms, paths = find.machines(self._session, datacenter, describe.LISTED_PROPERTIES)
            machines += (describe.listed_machine(vm, datacenter_networks) for vm in vms)
            # Valid in spec.folder: a path from the datacenter's top folder, or the full path.
            skipped_names = len(datacenter.path) + 1 if len(datacenters) == 1 else 0
            folders += (
                join_path(path[skipped_names:]).lstrip("/") if skipped_names else join_path(path)
                for path in paths
            )
        ids = [machine.source_id for machine in machines]
        vm_tags = tags.read(self._session, Credentials.read(self._access.credentials), ids)
        return Inventory(
            machines=tuple(
                machine.model_copy(update={"tags": found})
                if (found := vm_tags.of(machine.source_id))
                else machine
                for machine in machines
            ),
            networks=tuple(sorted(datacenter_networks.names)),
            folders=tuple(folders),
            tags_unknown=vm_tags.unknown,
        )

    def tags(self, machine: Machine) -> tuple[Tag, ...]:
        """Tags by category, and custom attributes. A stand-alone host has none."""
        return tags.of_vm(self._session, Credentials.read(self._access.credentials), machine)

    def power_off(self, machine: Machine, policy: PowerPlan) -> None:
        power.power_off(self._session, machine, policy, self._access.state_folder)

    def power_on(self, machine: Machine) -> None:
        folder = self._datacenter_of(machine.source_id, None).vm_folder
        datacenter = collector.read_one(self._session, folder, "parent").get("parent")
        power_on.power_on(self._session, machine, datacenter)

    def is_on(self, machine: Machine) -> bool:
        return power_on.is_on(self._session, machine)

    def power_mark(self, machine: Machine) -> PowerMark:
        return history.mark(self._session, machine)

    def was_started_since(self, machine: Machine, mark: PowerMark) -> str | None:
        return history.started_since(self._session, machine, mark)

    def was_shut_down_since(self, machine: Machine, mark: PowerMark) -> bool:
        return history.shut_down_since(self._session, machine, mark)

    def marker(self, machine: Machine) -> Marker:
        return marking.VsphereMarker(self._session, Credentials.read(self._access.credentials), machine)

    def export(
        self, machine: Machine, disk: Disk, out: Place, disk_format: DiskFormat, report: ProgressCallback
    ) -> Landed:
        return export.export(self._session, machine, disk, out, disk_format, report)

    def release(self) -> list[str]:
        return leftovers.end_run(self._session, self._access.run)

    @property
    def _searches_all(self) -> bool:
        return self._access.plan.any_datacenter and not self._access.plan.datacenter

    def _datacenter_of(self, vm: str, folder: str | None) -> find.Datacenter:
        """The datacenter to search: that of the plan, or the one that has the VM."""
        if self._searches_all:
            self._known_datacenter = find.datacenter_of(self._session, vm, folder)
        return self._datacenter()

    def _datacenter(self) -> find.Datacenter:
        if self._known_datacenter is None:
            self._known_datacenter = find.datacenter(self._session, self._access.plan.datacenter)
        return self._known_datacenter
