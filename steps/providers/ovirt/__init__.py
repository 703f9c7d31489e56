"""oVirt and Red Hat Virtualization as a source: VMs of one engine, over its REST API and ovirt-imageio.

engine    log in, ask, change           find       VMs by name, id, cluster
answers   what the engine sends         describe   a VM as a document; concerns: what is not carried over
faults    errors                        power      shutting it down and starting it, once
history   whether it has run since
routes    the ways to the disks         transfers  image transfers kept alive, and always ended
                                        export     one disk over a transfer
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from steps.disk.land import Landed
from steps.disk.volume import Place
from steps.model.contract import Exit, StepError
from steps.model.machine import Disk, Machine, Tag
from steps.model.plan import DiskFormat, PowerPlan
from steps.model.power import PowerMark
from steps.providers import Access, Inventory, Marker, ProgressCallback, Provider
from steps.providers.ovirt import (
    concerns,
    describe,
    engine,
    export,
    find,
    history,
    marking,
    power,
    routes,
    transfers,
)
from steps.providers.ovirt.answers import Answer

__all__ = ["OvirtProvider", "connect"]

log = structlog.get_logger()


@contextmanager
def connect(access: Access) -> Iterator[Provider]:
    """Open the source: one session, which is always closed.

    Raises:
        StepError: INVALID (endpoint, credentials), UNREACHABLE, UNTRUSTED, DENIED, UNSUPPORTED (version).
    """
    with engine.connect(access) as opened:
        opened.check_version()
        yield OvirtProvider(opened, access)


class OvirtProvider:
    """A logged-in engine, as a provider."""

    def __init__(self, opened: engine.Engine, access: Access) -> None:
        self._engine = opened
        self._access = access
        self._known_surroundings: find.Surroundings | None = None

    def verify(self) -> None:
        """Prove that VMs can be listed, and that the cluster exists; the login has proved the rest."""
        self._check_cluster()
        self._engine.read("list the VMs", "/vms", max="1")

    def describe(self, vm: str, folder: str | None) -> Machine:
        """`folder` is the VM's cluster. Also raises StepError if a disk is locked, or none can be read."""
        cluster = (folder or "").strip("/") or self._access.plan.cluster
        found = find.vm(self._engine, vm, cluster, self._surroundings())
        routes.check(self._engine, found.text("cluster", "id"))
        self._check_unlocked(found)
        return self._machine(found)

    def networks(self) -> frozenset[str]:
        around = self._surroundings()
        return frozenset(around.network_names()) | frozenset(around.profiles)

    def inventory(self) -> Inventory:
        """All VMs of the source by name, except those that cannot be described."""
        self._check_cluster()
        around = self._surroundings()
        vms = find.all_vms(self._engine, self._access.plan.cluster, around)
        machines = sorted(
            filter(None, map(self._try_machine, vms)), key=lambda one: (one.name, one.source_id)
        )
        clusters = sorted(cluster.text("name") for cluster in around.clusters.values())
        return Inventory(machines=tuple(machines), networks=around.network_names(), folders=tuple(clusters))

    def tags(self, machine: Machine) -> tuple[Tag, ...]:
        """The tags of the VM, which have no category."""
        answer = self._engine.read("read the tags of the VM", f"/vms/{machine.source_id}/tags")
        return tuple(Tag(name=tag.text("name")) for tag in answer.elements("tag") if tag.text("name"))

    def power_off(self, machine: Machine, policy: PowerPlan) -> None:
        power.power_off(self._engine, machine, policy)

    def power_on(self, machine: Machine) -> None:
        power.power_on(self._engine, machine)

    def is_on(self, machine: Machine) -> bool:
        return power.is_on(self._engine, machine)

    def power_mark(self, machine: Machine) -> PowerMark:
        return history.mark(self._engine, machine)

    def was_started_since(self, machine: Machine, mark: PowerMark) -> str | None:
        return history.started_since(self._engine, machine, mark)

    def was_shut_down_since(self, machine: Machine, mark: PowerMark) -> bool:
        return history.shut_down_since(self._engine, machine, mark)

    def marker(self, machine: Machine) -> Marker:
        return marking.OvirtMarker(self._engine, machine)

    def export(
        self, machine: Machine, disk: Disk, out: Place, disk_format: DiskFormat, report: ProgressCallback
    ) -> Landed:
        return export.export(self._engine, self._access, machine, disk, out, disk_format, report)

    def release(self) -> list[str]:
        """Cancel the transfers that killed attempts left. Before preflight found the VM there are none."""
        machine = self._access.machine
        if machine is None:
            return []
        return transfers.cancel_left(self._engine, self._access.run, {disk.key for disk in machine.disks})

    def _machine(self, vm: Answer) -> Machine:
        around = self._surroundings()
        return describe.machine(vm, around, concerns.concerns(vm, around))

    def _try_machine(self, vm: Answer) -> Machine | None:
        try:
            return self._machine(vm).model_copy(update={"tags": describe.tags(vm)})
        except StepError as error:
            log.warning("a VM is left out", vm=vm.text("name"), why=str(error))
            return None

    def _check_unlocked(self, vm: Answer) -> None:
        """Refuse for now a VM with a locked disk. A transfer that an earlier attempt left is cancelled."""
        locked = [
            attachment
            for attachment in describe.attachments_in_order(vm)
            if attachment.text("disk", "status") == "locked"
        ]
        if not locked:
            return
        transfers.cancel_left(self._engine, self._access.run, set(map(describe.disk_id, locked)))
        raise StepError(
            Exit.BUSY,
            f"cannot import the VM {vm.text('name')} now",
            f"the engine works with its disks: {', '.join(map(describe.label, locked))}",
            "it is tried again; wait until the tasks of the engine have ended",
        )

    def _check_cluster(self) -> None:
        """Prove that the cluster of the source exists. Raises StepError: NOT_FOUND."""
        cluster, around = self._access.plan.cluster, self._surroundings()
        names = {one.text("name") for one in around.clusters.values()}
        if cluster and around.clusters and cluster not in names | around.clusters.keys():
            raise StepError(
                Exit.NOT_FOUND,
                f"there is no cluster {cluster!r}",
                f"clusters: {', '.join(sorted(names))}",
                "correct spec.cluster of the source",
            )

    def _surroundings(self) -> find.Surroundings:
        if self._known_surroundings is None:
            self._known_surroundings = find.surroundings(self._engine)
        return self._known_surroundings
