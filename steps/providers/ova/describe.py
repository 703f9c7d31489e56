"""A system of a descriptor as a `Machine`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from steps.disk import self_contained
from steps.model import guestos
from steps.model.contract import Exit, StepError
from steps.model.machine import Disk, Machine, Power
from steps.providers.ova import formats, hardware, vendors
from steps.providers.ova.appliance import Appliance
from steps.providers.ova.concerns import concerns
from steps.providers.ova.envelope import Envelope, File, System, piece
from steps.providers.ova.hardware import Drive
from steps.providers.ova.items import Item, Kind, items, small

_MOST_PIECES: Final = 64
"""Most files that one read opens: pieces of real packages have some MB."""
MOST_CAPACITY: Final = 64 << 40
"""Bytes. vSphere's largest disk has 62 TiB (Broadcom, Configuration Maximums); more is an error."""


def machine(appliance: Appliance, system: System, name: str = "") -> Machine:
    """The VM; a single one may get a `name`, as the descriptor's is only a proposal.

    Raises:
        StepError: INVALID, if CPU or memory cannot be read; the errors of reading the package.
    """
    envelope = appliance.envelope
    alone = len(envelope.systems) == 1
    parts = items(envelope, system)
    shown = system.name or system.id
    cpu, boot = hardware.cpu(parts, shown), vendors.boot(system, parts)
    found = measured(appliance, system, parts)
    sizes = [(drive, size) for drive, size, _ in found]
    return Machine(
        **_words(system),
        name=(name if alone else "") or shown,
        source_id=system.id or system.name,
        uuid=vendors.uuid(system),
        vcpus=cpu.count,
        cores_per_socket=cpu.cores,
        threads_per_core=cpu.threads,
        memory_mib=hardware.memory_mib(parts, shown),
        firmware=vendors.firmware(system, parts),
        clock=vendors.clock(system),
        disks=_disks(sizes, boot),
        nics=hardware.nics(parts, boot, vendors.cards(system)),
        power=Power.OFF,
        change_version=appliance.package.version,
        concerns=concerns(appliance, system, parts, sizes, [why for *_, why in found if why]),
    )


def _words(system: System) -> dict[str, Any]:
    node = system.node.child("OperatingSystemSection")
    said = node.value("Description")  # oVirt and old VirtualBox have the system's name here
    identity = node.get("osType") or node.value("OSType") or (said if " " not in said else "")
    product = system.node.child("ProductSection")
    title = " ".join(filter(None, (product.value("Product"), product.value("FullVersion", "Version"))))
    return {
        "os": guestos.of_ovf(small(node.get("id")) or None, identity),
        "guest_id": identity,
        "guest_name": said,
        # The second is oVirt's; a standard system has none.
        "notes": system.node.child("AnnotationSection").value("Annotation")
        or system.node.value("Description")
        or title,
    }


def measured(appliance: Appliance, system: System, parts: Sequence[Item]) -> list[tuple[Drive, int, str]]:
    """All disks in the descriptor's order, with their sizes in bytes and why they are not whole disks.

    An unknown size is 0.
    """
    drives = hardware.drives(appliance.envelope, system, parts)
    return [(drive, capacity(appliance, drive), partial(appliance, drive)) for drive in drives]


def _disks(drives: Iterable[tuple[Drive, int]], boot: Sequence[Item]) -> tuple[Disk, ...]:
    known = [(drive, size) for drive, size in drives if size]
    return tuple(_disk(number, drive, size, boot) for number, (drive, size) in enumerate(known))


def _disk(number: int, drive: Drive, size: int, boot: Sequence[Item]) -> Disk:
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
        boot_order=boot.index(item) + 1 if item in boot else None,
        backing=disk.file.name if disk and disk.file else "",
        allocated=disk.allocated if disk else None,
    )


def capacity(appliance: Appliance, drive: Drive) -> int:
    """Bytes of the disk: from its file if that is readable, else from the descriptor.

    0 if neither has a possible size.
    """
    disk = drive.disk
    if disk is None:
        return 0
    found = formats.named(disk)
    head = b""
    if disk.file and found and not (disk.file.compression or disk.file.chunk):
        head = appliance.package.peek(disk.file.name, formats.HEAD)
    size = (formats.capacity(head, found) if found else 0) or disk.capacity
    return size if size <= MOST_CAPACITY else 0


def partial(appliance: Appliance, drive: Drive) -> str:
    """Why the disk's file is not a whole disk, as far as that shows before it is read; else ""."""
    disk = drive.disk
    found = formats.named(disk) if disk else None
    if disk is None or disk.file is None or found is None:
        return ""
    try:
        self_contained.check(found, _reader(appliance, disk.file), name=disk.file.name)
    except StepError as error:
        if error.code is not Exit.UNSUPPORTED:
            raise
        return f"{error.what}: {error.why}"
    return ""


def _reader(appliance: Appliance, file: File) -> self_contained.ReadAt:
    """The bytes of a disk's file; only the first ones if it is compressed."""
    if file.compression == "gzip":
        head = formats.inflated(_bytes(appliance, file, 0, formats.PACKED))
        return lambda offset, count: head[offset : offset + count]
    return lambda offset, count: _bytes(appliance, file, offset, count)


def _bytes(appliance: Appliance, file: File, offset: int, count: int) -> bytes:
    """Bytes of a file, split or not."""
    if not file.chunk:
        return appliance.package.peek(file.name, count, offset)
    found, end = b"", offset + count
    for number in range(offset // file.chunk, offset // file.chunk + _MOST_PIECES):
        at = offset + len(found)
        wanted = min(end, (number + 1) * file.chunk) - at
        there = appliance.package.peek(piece(file, number), wanted, at - number * file.chunk)
        found += there
        if len(there) < wanted or len(found) == count:
            break
    return found


def networks(envelope: Envelope) -> set[str]:
    """All networks: some NICs are on one that the NetworkSection lacks."""
    parts = (item for system in envelope.systems for item in items(envelope, system))
    used = {item.node.value("Connection") for item in parts if item.is_a(Kind.ETHERNET)}
    return (used | set(envelope.networks)) - {""}
