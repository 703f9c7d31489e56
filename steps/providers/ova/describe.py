"""A system of a descriptor as a `Machine`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from steps.disk import self_contained, virtual_size
from steps.model import guestos
from steps.model.contract import Exit, StepError
from steps.model.machine import Disk, Machine, Power, listed
from steps.model.sectors import whole_sectors
from steps.providers.ova import formats, hardware, stored, vendors
from steps.providers.ova.appliance import Appliance
from steps.providers.ova.concerns import concerns
from steps.providers.ova.envelope import Envelope, System
from steps.providers.ova.hardware import MAX_CAPACITY, Drive
from steps.providers.ova.items import Item, ResourceType, boot_positions, items, parse_int


def machine(appliance: Appliance, system: System, name: str = "") -> Machine:
    """The VM; a single one may get a `name`, as the descriptor's is only a proposal.

    Raises:
        StepError: INVALID, if CPU or memory cannot be read; the errors of reading the package.
    """
    envelope = appliance.envelope
    is_single = len(envelope.systems) == 1
    hardware_items = items(envelope, system)
    shown_name = system.name or system.id
    cpu = hardware.cpu(hardware_items, shown_name)
    boot = boot_positions(vendors.boot_order(system, hardware_items))
    measured = measure_disks(appliance, system, hardware_items)
    sizes = [(drive, size) for drive, size, _ in measured]
    return Machine(
        **_text_fields(system),
        name=(name if is_single else "") or shown_name,
        source_id=system.id or system.name,
        uuid=vendors.uuid(system),
        vcpus=cpu.count,
        cores_per_socket=cpu.cores,
        threads_per_core=cpu.threads,
        memory_mib=hardware.memory_mib(hardware_items, shown_name),
        firmware=vendors.firmware(system, hardware_items),
        clock=vendors.clock(system),
        disks=_disks(sizes, boot),
        nics=hardware.nics(hardware_items, boot, vendors.nics(system)),
        power=Power.OFF,
        change_version=appliance.package.version,
        concerns=concerns(appliance, system, hardware_items, sizes, [why for *_, why in measured if why]),
    )


def _text_fields(system: System) -> dict[str, Any]:
    node = system.node.child("OperatingSystemSection")
    description = node.value("Description")  # oVirt and old VirtualBox have the system's name here
    os_type = node.get("osType") or node.value("OSType") or (description if " " not in description else "")
    product = system.node.child("ProductSection")
    title = " ".join(filter(None, (product.value("Product"), product.value("FullVersion", "Version"))))
    return {
        "os": guestos.of_ovf(parse_int(node.get("id")) or None, os_type),
        "guest_id": os_type,
        "guest_name": description,
        # The second is oVirt's; a standard system has none.
        "notes": system.node.child("AnnotationSection").value("Annotation")
        or system.node.value("Description")
        or title,
    }


def measure_disks(
    appliance: Appliance, system: System, parts: Sequence[Item]
) -> list[tuple[Drive, int, str]]:
    """The disks in the descriptor's order, with their sizes in bytes and why they are not whole disks.

    An unknown size is 0. Each disk is opened, so a descriptor with too many is not read to its end.
    """
    drives = (stored.drive(appliance, drive) for drive in hardware.drives(appliance.envelope, system, parts))
    # One drive after the other: their first bytes are read, and a server sends more than these.
    return list(
        listed((drive, capacity(appliance, drive), delta_reason(appliance, drive)) for drive in drives)
    )


def _disks(drives: Iterable[tuple[Drive, int]], boot: Mapping[Item, int]) -> tuple[Disk, ...]:
    sized_drives = [(drive, size) for drive, size in drives if size]
    return tuple(_disk(number, drive, size, boot) for number, (drive, size) in enumerate(sized_drives))


def _disk(number: int, drive: Drive, size: int, boot: Mapping[Item, int]) -> Disk:
    item, disk = drive.item, drive.disk
    return Disk(
        id=f"disk-{number}",
        key=drive.key,
        label=item.label,
        capacity=size,
        controller=drive.controller,
        controller_key=item.parent,
        bus_number=drive.bus,
        unit=item.unit,
        boot_order=boot.get(item),
        backing=disk.file.name if disk and disk.file else "",
        blank=disk is not None and disk.file is None and not disk.missing_reference,
        allocated=disk.allocated if disk else None,
    )


def capacity(appliance: Appliance, drive: Drive) -> int:
    """Bytes of the disk: from its file if that is readable, else from the descriptor.

    0 if neither has a possible size.
    """
    disk = drive.disk
    if disk is None:
        return 0
    file_format = formats.declared_format(disk)
    size = 0
    if disk.file and file_format:
        file_size = stored.file_size(appliance.package, disk.file)
        if file_format == "raw":
            size = _raw_size(file_size, disk.capacity)
        else:
            size = virtual_size.of(file_format, stored.reader(appliance.package, disk.file), file_size)
    size = size or disk.capacity
    return size if size <= MAX_CAPACITY else 0


def _raw_size(file_size: int | None, declared: int) -> int:
    """Bytes of a raw disk, whose file is the disk; 0 for the descriptor's. A smaller file is cut short.

    A file that ends within a sector is completed with zeros.
    """
    size = whole_sectors(file_size or 0)
    return size if size >= declared else 0


def delta_reason(appliance: Appliance, drive: Drive) -> str:
    """Why the disk's file is not a whole disk, as far as that shows before it is read; else ""."""
    disk = drive.disk
    file_format = formats.declared_format(disk) if disk else None
    if disk is None or disk.file is None or file_format is None:
        return ""
    try:
        self_contained.check(file_format, stored.reader(appliance.package, disk.file), name=disk.file.name)
    except StepError as error:
        if error.code is not Exit.UNSUPPORTED:
            raise
        return f"{error.what}: {error.why}"
    return ""


def networks(envelope: Envelope) -> set[str]:
    """All networks: some NICs are on one that the NetworkSection lacks."""
    parts = (item for system in envelope.systems for item in items(envelope, system))
    used = {item.node.value("Connection") for item in parts if item.is_a(ResourceType.ETHERNET)}
    return (used | set(envelope.networks)) - {""}
