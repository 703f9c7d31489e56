"""The VM as it will be built: from the source's description and the request. Pure.

The tables are those of today's vm-import-controller without its known faults; every deliberate deviation
stands in docs/reference/mapping.md and has a test.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Final, NamedTuple

from pydantic import Field

from steps.model import unique
from steps.model.concerns import about, block, disk_serial, log, merged, system_serial, system_uuid, warn
from steps.model.contract import StepError
from steps.model.document import Document
from steps.model.guest import Guest
from steps.model.guest_choice import bus_by_evidence, disk_bus
from steps.model.guestos import is_windows
from steps.model.machine import (
    Clock,
    Concern,
    Controller,
    Disk,
    DiskId,
    Firmware,
    Machine,
    Nic,
    Power,
    Severity,
)
from steps.model.matching import (
    bus_of_row,
    disk_rule,
    fits_nothing,
    is_for_disk,
    is_skipped,
    volume_name_of_row,
)
from steps.model.naming import target_name
from steps.model.networks import Interface, map_interfaces
from steps.model.plan import (
    Bus,
    CpuTopology,
    DiskForm,
    DiskRule,
    DiskWay,
    Plan,
    TargetPlan,
)
from steps.model.source_tags import labels_of_tags
from steps.model.vm_settings import VmSettings

BUSES: Final[dict[Controller, Bus]] = {
    # KubeVirt has no PVSCSI, and a guest that booted from one may lack a driver for virtio-scsi.
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


class TargetDisk(Document):
    """A disk as KubeVirt sees it; `capacity` in bytes."""

    id: DiskId
    bus: Bus
    serial: str = ""
    boot_order: Annotated[int, Field(ge=1)] | None = None
    capacity: int
    way: DiskWay = DiskWay.PULL
    """How it gets to its volume: `PULL` or `LAND`."""
    name: str = Field(default="", exclude_if=lambda value: not value)
    """The name of its volume that the import asks for; empty: one of `steps.model.volumes`."""


class Shape(Document):
    """The VM as it will be built, and its concerns."""

    name: str
    namespace: str
    sockets: int
    cores: int
    threads: int = 1
    memory_mib: int
    firmware: Firmware
    uuid: str = ""
    serial: str = ""
    clock: Clock = Clock()
    disks: tuple[TargetDisk, ...]
    interfaces: tuple[Interface, ...]
    description: str = ""
    os: str = ""
    guest_id: str = ""
    start: bool = True
    concerns: tuple[Concern, ...] = ()
    labels: Mapping[str, str] = Field(default={}, exclude_if=lambda value: not value)
    annotations: Mapping[str, str] = Field(default={}, exclude_if=lambda value: not value)
    """What the import asks for, in addition to those of the target."""
    settings: VmSettings = Field(default=VmSettings(), exclude_if=lambda value: value == VmSettings())

    @property
    def vcpus(self) -> int:
        return self.sockets * self.cores * self.threads

    @property
    def topology(self) -> Topology:
        return Topology(self.sockets, self.cores, self.threads)

    @property
    def windows(self) -> bool:
        return is_windows(self.os)


def shape(plan: Plan, machine: Machine, guest: Guest | None = None) -> Shape:
    """The shape that is built from `machine`; `guest` is what an inspection found on its disks.

    Raises:
        StepError: INVALID, when the strict name policy refuses its name.
    """
    target = plan.target
    cpu, cpu_concerns = topology(
        target.vcpus or machine.vcpus,
        machine.cores_per_socket,
        machine.threads_per_core,
        policy=target.cpu_topology,
    )
    interfaces, nic_concerns = map_interfaces(machine.nics, target, guest)
    tag_labels, tag_concerns = labels_of_tags(machine.tags, target.settings.tag_labels)
    return Shape(
        name=target_name(plan, machine),
        namespace=target.namespace,
        sockets=cpu.sockets,
        cores=cpu.cores,
        threads=cpu.threads,
        memory_mib=target.memory_mib or machine.memory_mib,
        firmware=machine.firmware,
        uuid=system_uuid(machine),
        serial=system_serial(machine),
        clock=machine.clock,
        disks=map_disks(machine.disks, target, guest, taken=_orders(machine.nics)),
        interfaces=interfaces,
        description=machine.notes,
        os=machine.os,
        guest_id=machine.guest_id,
        start=is_started(target, machine),
        concerns=merged(machine.concerns, about(machine), cpu_concerns, nic_concerns, tag_concerns),
        labels={**tag_labels, **target.vm_labels},
        annotations=target.vm_annotations,
        settings=target.settings,
    )


def is_started(target: TargetPlan, machine: Machine) -> bool:
    """Whether the new VM is started."""
    settings = target.settings
    ran = settings.ran_before or machine.power is Power.ON
    return target.start and (ran or not settings.as_source)


class Topology(NamedTuple):
    """How the guest sees its vCPUs; the product of the three is their number."""

    sockets: int
    cores: int
    threads: int

    def __str__(self) -> str:
        """For messages: `2 sockets of 4 cores`."""
        sockets = "1 socket" if self.sockets == 1 else f"{self.sockets} sockets"
        return f"{sockets} of {_cores(self.cores, self.threads)}"


def topology(
    vcpus: int,
    cores_per_socket: int,
    threads_per_core: int = 1,
    *,
    policy: CpuTopology = CpuTopology.ONE_SOCKET,
) -> tuple[Topology, list[Concern]]:
    """The topology that the VM gets, and concerns about differences from the source.

    The source's numbers may not divide the number of vCPUs. The VM then keeps as much as possible.
    """
    if policy is CpuTopology.SOURCE:
        return _source_topology(vcpus, cores_per_socket, threads_per_core)
    threads = threads_per_core if vcpus % threads_per_core == 0 else 1
    made = Topology(1, vcpus // threads, threads)
    if (made.cores, made.threads) == (cores_per_socket, threads_per_core):
        return made, []
    source = f"the source's sockets have {_cores(cores_per_socket, threads_per_core)}"
    return made, [log("cpu-one-socket", source, f"the VM gets {made}")]


def _source_topology(
    vcpus: int, cores_per_socket: int, threads_per_core: int
) -> tuple[Topology, list[Concern]]:
    """The source's topology if it matches the number of vCPUs, else as much of it as possible."""
    for cores, threads in ((cores_per_socket, threads_per_core), (cores_per_socket, 1)):
        if vcpus % (cores * threads) == 0:
            found = Topology(vcpus // (cores * threads), cores, threads)
            break
    else:
        found = Topology(vcpus, 1, 1)
    if found[1:] == (cores_per_socket, threads_per_core):
        return found, []
    why = f"{vcpus} vCPUs do not fill sockets of {_cores(cores_per_socket, threads_per_core)}"
    return found, [warn("cpu-topology", why, f"the VM gets {found}")]


def _cores(cores: int, threads: int) -> str:
    """For messages: `4 cores with 2 threads each`."""
    number = "1 core" if cores == 1 else f"{cores} cores"
    return f"{number} with {threads} threads each" if threads > 1 else number


def map_disks(
    disks: Iterable[Disk], target: TargetPlan, guest: Guest | None = None, *, taken: Iterable[int] = ()
) -> tuple[TargetDisk, ...]:
    """Buses by row, by what is on the disks, or by controller; boot orders of the source, then new ones.

    KubeVirt allows each order once: of two disks with the same order, the second comes later.
    """
    disks = tuple(disks)
    found_bus = disk_bus(guest)
    used = set(taken)
    free = itertools.count(max(used | _orders(disks), default=0) + 1)
    made = []
    for disk in disks:
        wanted = disk.boot_order
        order = wanted if wanted is not None and wanted not in used else next(free)
        used.add(order)
        bus = bus_of_row(disk, target.disks) or bus_by_evidence(
            found_bus, disk.controller, BUSES.get(disk.controller), target.default_bus
        )
        serial = disk_serial(disk.serial)
        made.append(
            TargetDisk(
                id=disk.id,
                bus=bus,
                serial=serial,
                boot_order=order,
                capacity=disk.capacity,
                way=disk_way(disk, target),
                name=volume_name_of_row(disk, target.disks),
            )
        )
    return tuple(made)


def disk_way(disk: Disk, target: TargetPlan) -> DiskWay:
    """How this disk gets to its volume: `PULL` or `LAND`."""
    if target.way is not DiskWay.MIXED:
        return target.way
    return DiskWay.LAND if disk_rule(disk, target.disks).form is DiskForm.VOLUME else DiskWay.PULL


def check_disks(target: TargetPlan, machine: Machine) -> list[Concern]:
    """Rows of the disk mapping that match no disk, several disks, or a disk that another row matches.

    A row of a mapping that imports share may do so: it is for other VMs, too.
    """
    rules = [rule for rule in target.disks if not rule.shared]
    fits = [(rule, [disk for disk in machine.disks if is_for_disk(rule, disk)]) for rule in rules]
    if target.first_match:
        return [_unused(rule, machine) for rule, disks in fits if not disks]
    rows = [(disk.id, rule) for rule, disks in fits for disk in disks]
    return [
        *(_unknown_disk(rule, machine) for rule, disks in fits if not disks),
        *(_several_disks(rule, disks) for rule, disks in fits if len(disks) > 1),
        *_several_rows(rows, machine),
    ]


def without_skipped(target: TargetPlan, machine: Machine) -> Machine:
    """The VM without the disks that the import leaves out, and without what the source says about them."""
    skipped = [disk for disk in machine.disks if is_skipped(disk, target.disks)]
    if not skipped:
        return machine
    keys = {disk.key for disk in skipped}
    return machine.model_copy(
        update={
            "disks": tuple(disk for disk in machine.disks if disk.key not in keys),
            "concerns": (
                *(concern for concern in machine.concerns if concern.disk not in keys),
                *_skipped(skipped),
            ),
        }
    )


def _skipped(disks: Iterable[Disk]) -> Iterator[Concern]:
    for disk in disks:
        label = f" ({disk.label})" if disk.label else ""
        message = f"{disk.id}{label} is left out, because diskMapping has `skip: true` for it"
        if disk.boot_order == 1:
            yield warn("disk-skipped", message, "it is the disk from which the VM boots at its source")
        else:
            yield log("disk-skipped", message)


def check_volume_names(target: TargetPlan, machine: Machine) -> Iterator[Concern]:
    """Disks whose volumes shall have the same name."""
    names = Counter(name for disk in machine.disks if (name := volume_name_of_row(disk, target.disks)))
    for name, count in names.items():
        if count > 1:
            message = f"diskMapping gives the volumes of {count} disks the name {name!r}"
            yield block("disk-ambiguous", message, "write another name into one of the rows")


def check_shared(target: TargetPlan, machine: Machine) -> Iterator[Concern]:
    """A mapping of which no row is for this VM: the import may name the wrong one."""
    if target.mapping is not None and fits_nothing(machine, target):
        yield warn(
            "mapping-unused",
            f"no row of {target.mapping.title} fits a NIC or a disk of {machine.name}",
            "compare its names and IDs with those that `vmferry inventory` shows",
        )


def _unused(rule: DiskRule, machine: Machine) -> Concern:
    there = ", ".join(f"{disk.key} ({disk.label})" for disk in machine.disks) or "none"
    message = f"the mapping names the disk {rule.disk or rule.label!r}, which is not a disk of {machine.name}"
    return warn("disk-unknown", message, f"its disks are: {there}")


def _unknown_disk(rule: DiskRule, machine: Machine) -> Concern:
    there = ", ".join(f"{disk.id} ({disk.label})" for disk in machine.disks) or "none"
    message = f"diskMapping names {rule.disk!r}, which is not a disk of {machine.name}"
    return block("disk-unknown", message, f"its disks are: {there}")


def _several_disks(rule: DiskRule, disks: Iterable[Disk]) -> Concern:
    message = f"diskMapping names {rule.disk!r}, and {', '.join(disk.id for disk in disks)} have that name"
    return block("disk-ambiguous", message, "use the id of the disk")


def _several_rows(rows: Iterable[tuple[str, DiskRule]], machine: Machine) -> Iterator[Concern]:
    found = unique.index(rows, lambda row: row[0], what="rows of diskMapping for", where=machine.name)
    try:
        found.check()
    except StepError as error:
        yield block("disk-ambiguous", f"{error.what}: {error.why}", "keep one row for each disk")


def _orders(devices: Iterable[Disk] | Iterable[Nic]) -> set[int]:
    return {device.boot_order for device in devices if device.boot_order is not None}


def blocking(concerns: Iterable[Concern]) -> Iterator[Concern]:
    """The concerns that stop the import."""
    return (concern for concern in concerns if concern.severity is Severity.BLOCK)
