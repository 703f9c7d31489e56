"""What an import of a VM would change, lose or cannot import.

The cases are those of Forklift's rules for vSphere (validation/policies/io/konveyor/forklift/vmware); the
severities are our own, as the export here is an ExportVm lease of a VM that is off, not VDDK. The reason
is noted at each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from pyVmomi import vim

from steps.model.concerns import block, log, warn
from steps.model.machine import Concern, Nic, NicModel, Power, Severity
from steps.providers.vmware.collector import Row
from steps.providers.vmware.devices import Hardware, capacity, label
from steps.providers.vmware.networks import Networks, attachment

_d: Any = vim.vm.device
_disk: Any = vim.vm.device.VirtualDisk

_EXPORTABLE: Final = (
    _disk.FlatVer1BackingInfo,
    _disk.FlatVer2BackingInfo,
    _disk.SparseVer1BackingInfo,
    _disk.SparseVer2BackingInfo,
    _disk.SeSparseBackingInfo,
    _disk.RawDiskMappingVer1BackingInfo,
)
"""Backings that are files on a datastore or are mapped through one; the others are local to a host."""


def concerns(
    row: Row, hardware: Hardware, networks: Networks, nics: Iterable[Nic], power: Power
) -> tuple[Concern, ...]:
    """All concerns about a VM, the most severe first."""
    all_concerns = [
        *_state_concerns(row, power),
        *_disks_concerns(row, hardware),
        *_nic_concerns(hardware, networks, nics),
        *_device_concerns(row, hardware),
    ]
    weight = [Severity.BLOCK, Severity.WARN, Severity.LOG]
    return tuple(sorted(all_concerns, key=lambda concern: weight.index(concern.severity)))


def _state_concerns(row: Row, power: Power) -> Iterator[Concern]:
    if row.get("config.template", False):  # among the properties of an inventory; `find` refuses a single one
        yield block("template", "it is a template", "deploy a VM from it first")
    if power is Power.SUSPENDED:  # the disks belong to a memory image that is not imported
        yield block("suspended", "the VM is suspended", "resume it and shut it down")
    if row.get("runtime.faultToleranceState", "notConfigured") != "notConfigured":  # the pair holds the disks
        yield block("fault-tolerance", "fault tolerance is on", "turn it off")
    if row.get("snapshot") is not None:  # ExportVm reads the current state through the whole chain
        yield warn("snapshots", "the VM has snapshots: its current state is imported, the snapshots are not")
    if row.get("runtime.consolidationNeeded", False):  # left-over delta disks: slower, but read as one
        yield warn("consolidation-needed", "its disks need consolidation", "consolidate them first")
    # The host refuses to export an encrypted VM.
    if row.get("config.keyId") is not None and not _has_vtpm(row):
        yield block("encrypted", "the VM is encrypted", "decrypt it: change its storage policy")
    elif row.get("config.keyId") is not None:  # a vTPM encrypts the home files; the disks may be plain
        yield warn(
            "encrypted-home",
            "its home files are encrypted, which a vTPM requires; a host may refuse the export",
        )


def _has_vtpm(row: Row) -> bool:
    return bool(row.get("summary.config.tpmPresent", False))


def _disks_concerns(row: Row, hardware: Hardware) -> Iterator[Concern]:
    disks = hardware.virtual_disks()
    if not disks:
        yield block("no-disks", "the VM has no disks", "there is nothing to import")
    for disk in disks:
        for concern in _disk_concerns(disk, label(disk)):
            yield concern.model_copy(update={"disk": str(disk.key)})
        # A warning, as in Forklift: a cluster that is off as a whole is imported well.
        if _is_shared(disk, hardware):
            shared = warn(
                "shared-disk",
                f"{label(disk)} may be shared with other VMs, which may be writing to it",
                "power them all off; after the import each has its own copy",
            )
            yield shared.model_copy(update={"disk": str(disk.key)})
    if any(_has_parent(disk) for disk in disks) and row.get("snapshot") is None:
        yield log("linked-clone", "the VM is a linked clone: the import is a full copy")


def _disk_concerns(disk: Any, name: str) -> Iterator[Concern]:
    backing = disk.backing
    if capacity(disk) <= 0:  # silently omitting a disk would be worse than no import
        yield block("disk-unreadable", f"the size of {name} cannot be read", "repair or remove it")
    if isinstance(backing, _disk.RawDiskMappingVer1BackingInfo):
        yield from _raw_device_concern(backing, name)
    elif not isinstance(backing, _EXPORTABLE):
        yield block("disk-backing", f"{name} has a backing that no lease exports: {type(backing).__name__}")
    if getattr(backing, "keyId", None) is not None:  # a lease of an encrypted disk is refused
        yield block("encrypted-disk", f"{name} is encrypted", "decrypt it: change its storage policy")
    if str(getattr(backing, "diskMode", "")).startswith("independent"):
        # Independent of snapshots (VirtualDiskMode), and none is made here: it is exported. Whether each host
        # lists it in the lease is not documented; the export reports a host that does not.
        yield warn("independent-disk", f"{name} is independent of snapshots; its current content is imported")


def _raw_device_concern(backing: Any, name: str) -> Iterator[Concern]:
    if backing.compatibilityMode == "physicalMode":  # SCSI goes past the host: there is no file to export
        yield block(
            "rdm-physical", f"{name} is a raw device in physical mode", "remove it, or copy it to a disk"
        )
    else:  # in virtual mode the host reads the device like a disk
        yield warn("rdm-virtual", f"{name} is a raw device: its content is imported as an ordinary disk")


def _is_shared(disk: Any, hardware: Hardware) -> bool:
    bus = getattr(hardware.controller(disk), "sharedBus", "noSharing")
    return getattr(disk.backing, "sharing", None) == "sharingMultiWriter" or bus != "noSharing"


def _has_parent(disk: Any) -> bool:
    return getattr(disk.backing, "parent", None) is not None


def _nic_concerns(hardware: Hardware, networks: Networks, nics: Iterable[Nic]) -> Iterator[Concern]:
    for card, nic in zip(hardware.ethernet_cards(), nics, strict=True):
        if nic.model is NicModel.SRIOV:  # the NIC is the host's own hardware
            yield warn("sriov", f"{label(card)} is an SR-IOV NIC: it is imported as an ordinary NIC")
        if not attachment(card, networks).certain:  # the mapping may not find it
            name = nic.network or nic.network_id or "nothing known"
            yield warn(
                "network-unresolved",
                f"the network of {label(card)} cannot be read ({name})",
                "grant the account System.Read on the networks, or map that name",
            )


def _device_concerns(row: Row, hardware: Hardware) -> Iterator[Concern]:
    for device in hardware.of_type(_d.VirtualPCIPassthrough):  # vGPUs too: hardware of that host
        yield warn("passthrough", f"{label(device)} is passed through from the host and is not carried over")
    for device in hardware.of_type(_d.VirtualUSB):
        yield warn("usb-device", f"{label(device)} is a USB device of the host and is not carried over")
    for device in hardware.of_type(_d.VirtualNVDIMM):  # its content is in host memory, in no lease
        yield warn("nvdimm", f"{label(device)} is persistent memory and is not carried over")
    for device in hardware.of_type(_d.VirtualCdrom, _d.VirtualFloppy):
        if _has_medium(device):  # as OVF export does with removable media
            yield log("removable-media", f"the medium in {label(device)} is not carried over")
    for device in hardware.of_type(_d.VirtualSerialPort, _d.VirtualParallelPort):
        yield log("port", f"{label(device)} is not carried over")
    if _has_vtpm(row) or hardware.of_type(_d.VirtualTPM):  # its secrets stay in files that no lease has
        yield log(
            "vtpm",
            "what the TPM holds is not carried over: have the recovery keys of encrypted volumes ready",
        )
    if getattr(row.get("config.bootOptions"), "efiSecureBootEnabled", False):
        yield log("secure-boot", "the VM boots with UEFI secure boot, and so does the imported VM")


def _has_medium(device: Any) -> bool:
    connectable = device.connectable
    is_inserted = connectable is not None and bool(connectable.connected or connectable.startConnected)
    return is_inserted and bool(
        getattr(device.backing, "fileName", None) or getattr(device.backing, "deviceName", None)
    )
