"""The machine as it will be: from what the source has and what was asked for. Pure.

The tables are those of today's vm-import-controller without its known faults; every deliberate deviation
stands in docs/mapping.md and has a test.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Annotated, Final

from pydantic import Field

from steps.document import Document
from steps.machine import (
    Concern,
    Controller,
    Disk,
    DiskId,
    Firmware,
    MacAddress,
    Machine,
    Nic,
    NicModel,
    Severity,
)
from steps.naming import target_name
from steps.plan import Bus, DiskRule, InterfaceModel, NetworkPolicy, NetworkRule, Plan, TargetPlan

POD_NETWORK: Final = "pod-network"

BUSES: Final[dict[Controller, Bus]] = {
    # KubeVirt knows no PVSCSI, and a guest that booted from one need not have a driver for virtio-scsi.
    Controller.PVSCSI: Bus.SATA,
    Controller.LSILOGIC: Bus.SCSI,
    Controller.LSILOGIC_SAS: Bus.SCSI,
    Controller.BUSLOGIC: Bus.SCSI,
    Controller.SCSI: Bus.SCSI,
    Controller.SATA: Bus.SATA,
    Controller.IDE: Bus.SATA,
    Controller.NVME: Bus.VIRTIO,
    Controller.USB: Bus.USB,
    Controller.VIRTIO: Bus.VIRTIO,
}
MODELS: Final[dict[NicModel, InterfaceModel]] = {
    NicModel.VMXNET: InterfaceModel.VIRTIO,
    NicModel.VMXNET2: InterfaceModel.VIRTIO,
    NicModel.VMXNET3: InterfaceModel.VIRTIO,
    NicModel.E1000: InterfaceModel.E1000,
    NicModel.E1000E: InterfaceModel.E1000E,
    NicModel.PCNET32: InterfaceModel.PCNET,
    NicModel.RTL8139: InterfaceModel.RTL8139,
    NicModel.NE2K_PCI: InterfaceModel.NE2K_PCI,
    NicModel.VIRTIO: InterfaceModel.VIRTIO,
}


class TargetDisk(Document):
    """A disk as KubeVirt will see it; `capacity` in bytes."""

    id: DiskId
    bus: Bus
    boot_order: Annotated[int, Field(ge=1)] | None = None
    capacity: int


class Interface(Document):
    """A network interface as KubeVirt will see it; without `network` it hangs on the pod network."""

    name: str
    nic: str
    """Id of the source's NIC, and in `source` its network, for whoever compares."""
    source: str
    model: InterfaceModel
    mac: MacAddress | None = None
    network: str = ""
    boot_order: Annotated[int, Field(ge=1)] | None = None


class Shape(Document):
    """The machine as it will be built, and what a person should know about it."""

    name: str
    namespace: str
    sockets: int
    cores: int
    memory_mib: int
    firmware: Firmware
    uuid: str = ""
    disks: tuple[TargetDisk, ...]
    interfaces: tuple[Interface, ...]
    description: str = ""
    guest_id: str = ""
    start: bool = True
    concerns: tuple[Concern, ...] = ()

    @property
    def vcpus(self) -> int:
        return self.sockets * self.cores


def shape(plan: Plan, machine: Machine) -> Shape:
    """What will be built of `machine`.

    Raises:
        StepError: INVALID, when its name is refused by the strict name policy.
    """
    target = plan.target
    vcpus = target.vcpus or machine.vcpus
    sockets, cores, cpu_concerns = topology(vcpus, machine.cores_per_socket)
    interfaces, nic_concerns = map_interfaces(machine.nics, target)
    return Shape(
        name=target_name(plan, machine),
        namespace=target.namespace,
        sockets=sockets,
        cores=cores,
        memory_mib=target.memory_mib or machine.memory_mib,
        firmware=machine.firmware,
        uuid=machine.uuid,
        disks=map_disks(machine.disks, target, taken=_orders(machine.nics)),
        interfaces=interfaces,
        description=machine.notes,
        guest_id=machine.guest_id,
        start=target.start,
        concerns=(*machine.concerns, *cpu_concerns, *nic_concerns),
    )


def topology(vcpus: int, cores_per_socket: int) -> tuple[int, int, list[Concern]]:
    """(sockets, cores per socket, concerns); their product is always `vcpus`."""
    if vcpus % cores_per_socket == 0:
        return vcpus // cores_per_socket, cores_per_socket, []
    concern = Concern(
        severity=Severity.WARN,
        code="cpu-topology",
        message=f"{vcpus} vCPUs are no multiple of {cores_per_socket} cores per socket",
        remedy=f"the machine gets {vcpus} sockets of one core",
    )
    return vcpus, 1, [concern]


def map_disks(
    disks: Iterable[Disk], target: TargetPlan, *, taken: Iterable[int] = ()
) -> tuple[TargetDisk, ...]:
    """Buses by row or controller; the source's boot order first, then the others in the source's order.

    KubeVirt wants every order once: of two disks that claim the same, the second comes later.
    """
    disks = tuple(disks)
    used = set(taken)
    free = itertools.count(max(used | _orders(disks), default=0) + 1)
    made = []
    for disk in disks:
        wanted = disk.boot_order
        order = wanted if wanted is not None and wanted not in used else next(free)
        used.add(order)
        bus = disk_rule(disk, target.disks).bus or BUSES.get(disk.controller, target.default_bus)
        made.append(TargetDisk(id=disk.id, bus=bus, boot_order=order, capacity=disk.capacity))
    return tuple(made)


def disk_rule(disk: Disk, rules: Iterable[DiskRule]) -> DiskRule:
    """The row for this disk, by its id, label or key at the source; a row of defaults when there is none."""
    fits = (rule for rule in rules if rule.disk in (disk.id, disk.label, disk.key))
    return next(fits, DiskRule(disk=disk.id))


def check_disks(target: TargetPlan, machine: Machine) -> list[Concern]:
    """Rows of the disk mapping that fit no disk."""
    there = {name for disk in machine.disks for name in (disk.id, disk.label, disk.key)}
    return [
        Concern(
            severity=Severity.BLOCK,
            code="disk-unknown",
            message=f"diskMapping names {rule.disk!r}, which is no disk of {machine.name}",
            remedy=f"it has: {', '.join(f'{disk.id} ({disk.label})' for disk in machine.disks) or 'none'}",
        )
        for rule in target.disks
        if rule.disk not in there
    ]


def _orders(devices: Iterable[Disk] | Iterable[Nic]) -> set[int]:
    return {device.boot_order for device in devices if device.boot_order is not None}


def map_interfaces(nics: Iterable[Nic], target: TargetPlan) -> tuple[tuple[Interface, ...], list[Concern]]:
    """Every NIC that KubeVirt allows: mapped ones by bridge, one unmapped one on the pod network.

    KubeVirt takes a single pod network per machine; further unmapped NICs are left out with a warning.
    """
    found: list[Interface] = []
    concerns: list[Concern] = []
    for index, nic in enumerate(nics):
        rule = find_rule(nic, target.networks)
        if rule is not None:
            found.append(_mapped(index, nic, rule, target.default_model))
        elif any(not interface.network for interface in found):
            concerns.append(_left_out(nic))
        else:
            found.append(_on_pod_network(nic, target.default_model))
            concerns.append(_unmapped(nic))
    return tuple(found), concerns


def find_rule(nic: Nic, rules: Iterable[NetworkRule]) -> NetworkRule | None:
    """The row for this NIC: its network's name, its inventory path's last part, or the source's id of it."""
    for rule in rules:
        if rule.source in {nic.network, nic.network_id} or rule.source.rsplit("/", 1)[-1] == nic.network:
            return rule
    return None


def _mapped(index: int, nic: Nic, rule: NetworkRule, default: InterfaceModel) -> Interface:
    return Interface(
        name=f"migrated-{index}",
        nic=nic.id,
        source=nic.network,
        model=rule.model or MODELS.get(nic.model, default),
        mac=nic.mac,
        network=rule.destination,
        boot_order=nic.boot_order,
    )


def _on_pod_network(nic: Nic, default: InterfaceModel) -> Interface:
    return Interface(
        name=POD_NETWORK,
        nic=nic.id,
        source=nic.network,
        model=default,
        mac=nic.mac,
        boot_order=nic.boot_order,
    )


def _unmapped(nic: Nic) -> Concern:
    return Concern(
        severity=Severity.WARN,
        code="network-unmapped",
        message=f"{nic.id} ({nic.mac or 'no MAC'}, network {nic.network!r}) is in no row of networkMapping",
        remedy="it goes to the pod network",
    )


def _left_out(nic: Nic) -> Concern:
    return Concern(
        severity=Severity.WARN,
        code="network-left-out",
        message=f"{nic.id} ({nic.mac or 'no MAC'}, network {nic.network!r}) is left out, "
        "as a machine has one pod network only",
        remedy="map its network in networkMapping to keep it",
    )


def check_networks(target: TargetPlan, known: frozenset[str]) -> list[Concern]:
    """Rows of the mapping whose source network does not exist: a warning, or if strict the end."""
    severity = Severity.BLOCK if target.network_policy is NetworkPolicy.STRICT else Severity.WARN
    return [
        Concern(
            severity=severity,
            code="network-unknown",
            message=f"source network {rule.source!r} not found",
            remedy=f"the source has: {', '.join(sorted(known)) or 'none'}",
        )
        for rule in target.networks
        if rule.source.rsplit("/", 1)[-1] not in known and rule.source not in known
    ]


def blocking(concerns: Iterable[Concern]) -> Iterator[Concern]:
    """Those that end the import."""
    return (concern for concern in concerns if concern.severity is Severity.BLOCK)
