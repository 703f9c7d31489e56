"""KubeVirt and Harvester as a source: VMs of one namespace, over their API and VirtualMachineExports.

api          read and change objects      find       the VM, its instance, its claims
answers      what the API server sends    describe   a VM as a document; concerns: what is not carried over
credentials  the kubeconfig               power      shutting it down and starting it, once
faults       errors                       history    whether it has run since
checks       rights and feature gate      exports    exports of claims, and always deleted
                                          links      the ways to their bytes
                                          export     one disk over an export
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import structlog

from steps.disk.land import Landed
from steps.disk.volume import Place
from steps.model.contract import StepError
from steps.model.machine import Disk, Machine, Tag
from steps.model.plan import DiskFormat, PowerPlan
from steps.model.power import PowerMark
from steps.model.sources import SourceKind
from steps.providers import Access, Inventory, Marker, ProgressCallback, Provider, not_marked
from steps.providers.kubevirt import (
    api,
    checks,
    concerns,
    describe,
    export,
    exports,
    find,
    history,
    power,
)

__all__ = ["KubeVirtProvider", "connect"]

log = structlog.get_logger()


@contextmanager
def connect(access: Access) -> Iterator[Provider]:
    """Open the source: it has no session, and the first request shows whether the account is accepted.

    Raises:
        StepError: INVALID (kubeconfig, endpoint), UNREACHABLE, UNTRUSTED, DENIED, NOT_FOUND.
    """
    source = api.open_api(access)
    source.read("read the API of KubeVirt", "/apis/kubevirt.io/v1")
    yield KubeVirtProvider(source, access)


class KubeVirtProvider:
    """The VMs of a namespace, as a provider."""

    def __init__(self, source: api.Api, access: Access) -> None:
        self._api = source
        self._access = access

    def verify(self) -> None:
        """Prove that VMs can be listed and disks can be exported, and that something serves them."""
        path = api.path_of(api.VMS, self._api.namespace)
        self._api.read("list the VMs", path, limit="1")
        self._prove_export(self._api)

    def describe(self, vm: str, folder: str | None) -> Machine:
        """`folder` is the VM's namespace. Also raises StepError if disks cannot be exported."""
        namespace = (folder or "").strip("/") or self._api.namespace
        self._api = replace(self._api, namespace=namespace)  # the networks of this VM are there, too
        found = find.vm(self._api, vm, namespace)
        self._prove_export(self._api)
        return describe.machine(found, concerns.concerns(found))

    def networks(self) -> frozenset[str]:
        return frozenset(find.networks(self._api, self._api.namespace))

    def inventory(self) -> Inventory:
        """All VMs of the namespace by name, except those that cannot be described."""
        machines = filter(None, map(self._try_machine, find.all_vms(self._api)))
        return Inventory(
            machines=tuple(sorted(machines, key=lambda one: one.name)),
            networks=find.networks(self._api, self._api.namespace),
            folders=(self._api.namespace,),
        )

    def tags(self, machine: Machine) -> tuple[Tag, ...]:
        """The labels of the VM."""
        vm = find.current(self._of(machine), machine)
        return tuple(Tag(name=name, value=vm.label(name)) for name in vm.names("metadata", "labels"))

    def power_off(self, machine: Machine, policy: PowerPlan) -> None:
        source = self._of(machine)
        power.power_off(source, self._access.run, machine, policy, lambda: self._prove_export(source))

    def power_on(self, machine: Machine) -> None:
        power.power_on(self._api, machine)

    def is_on(self, machine: Machine) -> bool:
        return power.is_on(self._api, machine)

    def power_mark(self, machine: Machine) -> PowerMark:
        return history.mark(self._api, machine)

    def was_started_since(self, machine: Machine, mark: PowerMark) -> str | None:
        return history.started_since(self._api, machine, mark)

    def was_shut_down_since(self, machine: Machine, mark: PowerMark) -> bool:
        return history.shut_down_since(self._api, self._access.run, machine, mark)

    def marker(self, machine: Machine) -> Marker:
        raise not_marked(SourceKind.KUBEVIRT)

    def export(
        self, machine: Machine, disk: Disk, out: Place, disk_format: DiskFormat, report: ProgressCallback
    ) -> Landed:
        return export.export(self._of(machine), self._access, machine, disk, out, disk_format, report)

    def release(self) -> list[str]:
        """Delete the exports that killed attempts left. Before preflight found the VM there are none."""
        machine = self._access.machine
        if machine is None:
            return []
        return exports.delete_left(self._api, self._access.run, (disk.id for disk in machine.disks))

    def _prove_export(self, source: api.Api) -> None:
        """Prove what can be proved of an export while the VM runs. Raises StepError."""
        checks.check(source)
        checks.check_address(source, self._access.plan.export_address)

    def _of(self, machine: Machine) -> api.Api:
        """The API with the namespace of a VM."""
        return replace(self._api, namespace=find.place_of(machine)[0])

    def _try_machine(self, found: find.Found) -> Machine | None:
        try:
            machine = describe.machine(found, concerns.concerns(found))
            return machine.model_copy(update={"tags": describe.tags(found.vm)})
        except StepError as error:
            log.warning("a VM is left out", vm=found.vm.name, why=str(error))
            return None
