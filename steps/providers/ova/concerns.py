"""What an import of a VM from a package would change, lose or cannot import."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from steps.model.concerns import block, log, warn
from steps.model.machine import Concern, Severity
from steps.model.sectors import SECTOR, whole_sectors
from steps.providers.ova import formats, hardware, stored
from steps.providers.ova.appliance import Appliance
from steps.providers.ova.bare import BarePackage
from steps.providers.ova.envelope import MAX_PIECES, Envelope, File, System, VirtualDisk, piece_name
from steps.providers.ova.hardware import Drive
from steps.providers.ova.items import ELEMENTS, Item, ResourceType
from steps.providers.ova.markup import Node

_DRIVES: Final = (ResourceType.CD, ResourceType.DVD, ResourceType.FLOPPY)
_SHOWN: Final = 3
"""Names of files in a concern."""
_WEIGHT: Final = [Severity.BLOCK, Severity.WARN, Severity.LOG]


def concerns(
    appliance: Appliance,
    system: System,
    parts: Sequence[Item],
    disks: Sequence[tuple[Drive, int]],
    delta_reasons: Iterable[str],
) -> tuple[Concern, ...]:
    """All concerns, the most severe first.

    `disks` with their sizes in bytes, 0 if unknown; `delta_reasons`: why their files are not whole disks.
    """
    all_concerns = [
        *_package_concerns(appliance),
        *(
            block("delta-disk", why, "export the VM without snapshots or checkpoints")
            for why in delta_reasons
        ),
        *_disks_concerns(appliance, disks),
        *_unused_disk_concerns(appliance.envelope, system, parts),
        *_size_concerns(parts),
        *_required_concerns(parts),
        *_device_concerns(parts),
        *_system_concerns(appliance, system),
    ]
    return tuple(sorted(all_concerns, key=lambda concern: _WEIGHT.index(concern.severity)))


def _package_concerns(appliance: Appliance) -> Iterator[Concern]:
    manifest = appliance.manifest(full_scan=False)
    if manifest is None and appliance.refusal:
        yield warn(
            "manifest-refused",
            f"{appliance.refusal}: it is taken as missing, as some servers answer so for a missing file",
            "the data cannot be verified; if the package has a manifest, allow the account to read it",
        )
    elif manifest is None and isinstance(appliance.package, BarePackage):
        yield warn("manifest-missing", "spec.disks names no checksum", "the data cannot be verified")
    elif manifest is None and appliance.package.supports_range:
        yield warn("manifest-missing", "the package has no manifest (.mf)", "the data cannot be verified")
    elif manifest is None:
        yield log("no-range", "the server has no Range: the archive is read from its start for each disk")
    if appliance.check_descriptor(full_scan=False):
        yield warn(
            "manifest-entry", f"the manifest has no digest of {appliance.name}", "it is read unchecked"
        )
    if appliance.is_signed():
        yield log("signature", "the package is signed: its certificate is not checked")


def _disks_concerns(appliance: Appliance, disks: Sequence[tuple[Drive, int]]) -> Iterator[Concern]:
    if not disks:
        yield block("no-disks", "the VM has no disks", "there is nothing to import")
    for drive, size in disks:
        name, disk = drive.item.label or drive.item.id or "a disk", drive.disk
        if disk is None:
            yield block("disk-unreadable", f"{name} is not a disk of the package", "correct the descriptor")
            continue
        if not size and disk.capacity > hardware.MAX_CAPACITY:
            message = (
                f"{name} has {disk.capacity >> 40} TiB; a disk has at most {hardware.MAX_CAPACITY >> 40} TiB"
            )
            yield block("disk-unreadable", message, "correct the descriptor")
        elif not size:
            yield block("disk-unreadable", f"the size of {name} cannot be read", "correct the descriptor")
        elif disk.capacity not in (0, size):
            message = f"{name} has {size} bytes, but the descriptor has {disk.capacity}"
            yield warn("capacity-differs", message, "the size in the file is used")
        yield from _disk_concerns(appliance, name, disk)


def _disk_concerns(appliance: Appliance, name: str, disk: VirtualDisk) -> Iterator[Concern]:
    short, size = _short_raw(appliance, disk), _raw_file_size(appliance, disk)
    if short is not None:
        message = f"the file of {name} has {short} bytes, but the disk has {disk.capacity}: it is cut short"
        yield block("file-size", message, "get a new copy from where it was made")
    elif size is not None and size % SECTOR:
        message = f"the file of {name} has {size} bytes, which are not whole sectors of {SECTOR} bytes"
        yield log("odd-size", message, "zeros complete the last sector")
    if disk.parent:
        yield block(
            "delta-disk", f"{name} holds only the difference to {disk.parent}", "consolidate it first"
        )
    if disk.missing_reference:
        yield block("file-missing", f"{name} is in {disk.missing_reference}, which is not in the package")
    if disk.file is None:
        if not disk.missing_reference:
            yield log("blank-disk", f"{name} has no file: it is imported empty")
        return
    yield from _file_concerns(appliance, name, disk, disk.file)


def _unused_disk_concerns(envelope: Envelope, system: System, parts: Sequence[Item]) -> Iterator[Concern]:
    """Disks, and files that look like one, that become no disk of any VM: they would be missed late.

    What another VM refers to is its own. Of this one only disks and drives in effect count: not a device of
    another kind, nor what stands in another configuration or in a second hardware section.
    """
    others = [other.host_resources for other in envelope.systems if other is not system]
    drives = [item.node for item in parts if item.is_disk or item.is_a(*_DRIVES)]
    resources = set().union(*others, (text for node in drives for text in _host_resources(node)))
    references = resources | {hardware.parse_resource(text)[1] for text in resources}
    for disk in envelope.disks:
        if disk.id not in references:
            where = f" ({disk.file.name})" if disk.file else ""
            yield warn(
                "disk-unused",
                f"no hard disk refers to the disk {disk.id or 'without an id'}{where} of the package",
                "it is not imported: if the VM needs it, add a hard disk to the descriptor",
            )
    disk_file_names = {disk.file.name for disk in envelope.disks if disk.file}
    for file in envelope.files:
        is_disk_file = formats.format_by_name(file.name.removesuffix(".gz")) is not None
        if is_disk_file and file.name not in disk_file_names and file.id not in references:
            yield warn("disk-unused", f"no disk uses {file.name}", "it is not imported")


def _host_resources(node: Node) -> Iterator[str]:
    return (
        child.text.strip() for child in node.walk() if child.name == "HostResource" and child.text.strip()
    )


def _file_concerns(appliance: Appliance, name: str, disk: VirtualDisk, file: File) -> Iterator[Concern]:
    if formats.declared_format(disk) is None:
        yield block("disk-format", f"{name} has an unknown format: {disk.format or file.name}")
    if file.declared is not None:
        yield from _differences(name, file, file.declared)
    if file.compression not in ("", "gzip"):
        yield block("disk-compression", f"{name} is compressed by {file.compression}", "use gzip, or none")
    first_file = piece_name(file, 0) if file.chunk else file.name
    if appliance.package.has(first_file) is False:
        similar = ", ".join(stored.numbered_names(appliance.package, file.name)[:_SHOWN])
        yield block(
            "file-missing",
            f"{first_file}, which holds {name}, is not in the package",
            f"it has {similar}, and it is not clear which one is meant: correct the descriptor"
            if similar
            else "get the complete package",
        )
    if appliance.file_digest(file, full_scan=False) is None:
        yield from _digest_concerns(appliance, disk, file)


def _differences(name: str, file: File, declared: File) -> Iterator[Concern]:
    """What is unlike in the package and in the descriptor."""
    if (file.name, file.chunk) != (declared.name, declared.chunk):
        used = f"the pieces {piece_name(file, 0)} and so on are" if file.chunk else f"{file.name} is"
        yield warn(
            "file-renamed", f"{declared.name}, which holds {name}, is not in the package", f"{used} used"
        )
    if file.compression == "gzip":
        if not declared.compression:
            message = f"{file.name} is compressed by gzip, which the descriptor does not name"
            yield warn("compression-differs", message, "it is unpacked")
    elif declared.compression == "gzip" and not file.compression:
        message = f"{file.name} is not compressed, but the descriptor names gzip"
        yield warn("compression-differs", message, "it is read as it is")


def _short_raw(appliance: Appliance, disk: VirtualDisk) -> int | None:
    """Bytes of the file of a raw disk that is shorter than the disk; else None.

    Not of oVirt's disks: what their descriptors say of formats and sizes is that of the volume at oVirt.
    """
    size = None if disk.volume_format else _raw_file_size(appliance, disk)
    return size if size is not None and whole_sectors(size) < disk.capacity else None


def _raw_file_size(appliance: Appliance, disk: VirtualDisk) -> int | None:
    """Bytes of the file of a raw disk; None of another format, or if nobody knows."""
    if disk.file is None or formats.declared_format(disk) != "raw":
        return None
    return stored.file_size(appliance.package, disk.file)


def _digest_concerns(appliance: Appliance, disk: VirtualDisk, file: File) -> Iterator[Concern]:
    """Of a file that has no digest as a whole."""
    if appliance.manifest(full_scan=False):
        file_names = _piece_names(appliance, file)
        unchecked = next(
            (file_name for file_name in file_names if appliance.digest(file_name, full_scan=False) is None),
            None,
        )
        if unchecked is None:
            return
        yield warn("manifest-entry", f"the manifest has no digest of {unchecked}", "it is imported unchecked")
    # What oVirt and virt-v2v give as a file's size is that of the disk.
    size = None if file.chunk or disk.volume_format else appliance.package.size(file.name)
    if file.size and size not in (None, file.size):
        message = f"{file.name} has {size} bytes, and the descriptor says {file.size}"
        yield warn("file-size", message, "it may be cut short: compare it with where it was made")


def _piece_names(appliance: Appliance, file: File) -> list[str]:
    """What a file is called in the package: of one that is split the pieces, as far as it tells how many."""
    if not file.chunk:
        return [file.name]
    if file.size and not file.compression:
        count = min(-(-file.size // file.chunk), MAX_PIECES)
    else:
        listed = set(appliance.package.names(full_scan=False) or ())
        count = next(number for number in range(len(listed) + 1) if piece_name(file, number) not in listed)
    return [piece_name(file, number) for number in range(max(count, 1))]


def _size_concerns(parts: Sequence[Item]) -> Iterator[Concern]:
    """Sizes that the descriptor does not have. `steps.preflight` drops them if the import sets these."""
    if not any(item.is_a(ResourceType.PROCESSOR) for item in parts):
        yield warn(
            "cpu-assumed",
            "the descriptor names no processor",
            f"the VM gets {hardware.ASSUMED_VCPUS} vCPU; set spec.cpus of the import for another number",
        )
    if not any(item.is_a(ResourceType.MEMORY) for item in parts):
        yield warn(
            "memory-assumed",
            "the descriptor names no memory",
            f"the VM gets {hardware.ASSUMED_MEMORY_MIB} MiB; set spec.memory of the import for another size",
        )


def _required_concerns(parts: Sequence[Item]) -> Iterator[Concern]:
    """Elements of items that nobody may ignore, and that vmferry does not know (DSP0243, 8.3)."""
    for item in parts:
        for node in item.node.children:
            if node.get("required").lower() == "true" and node.name not in ELEMENTS:
                message = f"{item.label or item.id} has the required element {node.name!r}, which is unknown"
                yield block(
                    "required-unknown", message, "if the VM runs without it, remove it from the descriptor"
                )


def _device_concerns(parts: Sequence[Item]) -> Iterator[Concern]:
    for item in parts:
        name = item.label or item.id
        if item.is_a(*_DRIVES) and item.node.value("HostResource"):
            yield log("removable-media", f"the medium in {name} is not carried over")
        elif item.is_a(ResourceType.SERIAL, ResourceType.PARALLEL):
            yield log("port", f"{name} is not carried over")
        elif any("pci.passthrough" in kind for kind in item.subtypes):
            yield warn("passthrough", f"{name} is a device of the host and is not carried over")
        elif any("nvdimm" in kind for kind in item.subtypes):
            yield warn("nvdimm", f"{name} is persistent memory and is not carried over")
        elif "vmware.vtpm" in item.subtypes:
            yield log("vtpm", "what the TPM holds is not carried over: have the recovery keys ready")


def _system_concerns(appliance: Appliance, system: System) -> Iterator[Concern]:
    envelope = appliance.envelope
    if len(envelope.configurations) > 1:
        chosen = envelope.configuration
        others = ", ".join(name for name in envelope.configurations if name != chosen)[:500]
        yield log(
            "deployment-option", f"it is imported with the configuration {chosen!r}; there are also {others}"
        )
    products = system.node.find_all("ProductSection")
    properties = [node for product in products for node in product.find_all("Property")]
    if system.hardware.get("transport") and properties:
        yield warn(
            "ovf-properties",
            f"it expects {len(properties)} OVF properties when it starts, which no target supplies",
            "configure the guest by hand",
        )
