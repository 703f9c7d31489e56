"""A VM as a `Machine`. Pure: the engine's answers in, document out.

Names and values: oVirt REST API guide, and the mappers of the engine (ENG: backend/manager/modules/restapi).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Final

from tzlocal.windows_tz import win_tz

from steps.model import guestos
from steps.model.machine import (
    Clock,
    Concern,
    Controller,
    Disk,
    Firmware,
    Machine,
    Nic,
    NicModel,
    Power,
    Tag,
    listed,
)
from steps.model.sectors import whole_sectors
from steps.providers.ovirt.answers import Answer, unusable
from steps.providers.ovirt.find import Surroundings

MIB: Final = 1 << 20
MOST_VCPUS: Final = 1 << 12
"""The engine allows 710 (MaxNumOfVmCpus of version 4.7)."""

BUSES: Final[dict[str, Controller]] = {
    "virtio": Controller.VIRTIO,
    "virtio_scsi": Controller.SCSI,
    "spapr_vscsi": Controller.SCSI,
    "sata": Controller.SATA,
    "ide": Controller.IDE,
}
NIC_MODELS: Final[dict[str, NicModel]] = {
    "virtio": NicModel.VIRTIO,
    "e1000": NicModel.E1000,
    "e1000e": NicModel.E1000E,
    "rtl8139": NicModel.RTL8139,
    "rtl8139_virtio": NicModel.RTL8139,
    "pci_passthrough": NicModel.SRIOV,
}
POWER_STATES: Final[dict[str, Power]] = {
    "down": Power.OFF,
    "image_locked": Power.OFF,
    "suspended": Power.SUSPENDED,
    "saving_state": Power.SUSPENDED,
    "restoring_state": Power.SUSPENDED,
}
"""VmStatus; others count as on, and `concerns` blocks those that cannot be shut down."""
FIRMWARE: Final = {
    "i440fx_sea_bios": Firmware(),
    "q35_sea_bios": Firmware(),
    "q35_ovmf": Firmware(kind="efi"),
    "q35_secure_boot": Firmware(kind="efi", secure_boot=True),
}
"""BiosType, apart from `cluster_default`."""
_WINDOWS_DEFAULT: Final = "GMT Standard Time"
"""The engine's zone for a Windows guest for which none is set (TimeZoneType)."""
_UTC_ZONES: Final = ("Etc/GMT", "Etc/UTC", "GMT", "UTC")
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")
_OFFSET: Final = re.compile(r"([+-])(\d{1,2}):(\d{2})(?::\d{2})?")
_MAC: Final = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")


def machine(vm: Answer, around: Surroundings, concerns: tuple[Concern, ...] = ()) -> Machine:
    """The document of a VM, with the concerns of `concerns.concerns`.

    Raises:
        StepError: UNREACHABLE, if the answer cannot be a VM.
    """
    vm_id, name = vm.required("id"), vm.required("name")
    cluster = around.cluster(vm)
    sockets, cores, threads = (_count(vm, part) for part in ("sockets", "cores", "threads"))
    vcpus = sockets * cores * threads
    if vcpus > MOST_VCPUS:
        raise unusable(f"the VM {name} has {vcpus} virtual CPUs")
    memory = (vm.number("memory") or 0) // MIB
    if not memory:
        raise unusable(f"the VM {name} has no memory")
    cluster_name = around.cluster_name(vm)
    os = operating_system(vm)
    return Machine(
        name=name,
        source_id=vm_id,
        path=f"{cluster_name}/{name}" if cluster_name else name,
        uuid=vm_id,  # the engine writes it into the SMBIOS (ENG LibvirtVmXmlBuilder)
        instance_uuid=vm_id,
        serial=serial(vm, cluster),
        vcpus=vcpus,
        cores_per_socket=cores,
        threads_per_core=threads,
        memory_mib=memory,
        firmware=firmware(vm, cluster),
        disks=disks(vm, around),
        nics=tuple(nics(vm, around)),
        clock=clock(vm, is_windows=guestos.is_windows(os)),
        os=os,
        guest_id=vm.text("os", "type"),
        guest_name=_guest_name(vm),
        notes=vm.text("description") or vm.text("comment"),
        power=power(vm),
        tools_running=True,  # the engine asks by ACPI or by the guest agent, whichever there is
        change_version=change_version(vm),
        concerns=concerns,
    )


def tags(vm: Answer) -> tuple[Tag, ...]:
    """The tags of a VM, which have no category."""
    names = (tag.text("name") for tag in vm.items("tags", "tag"))
    return tuple(Tag(name=name) for name in sorted(filter(None, names)))


def _count(vm: Answer, part: str) -> int:
    count = vm.number("cpu", "topology", part)
    return 1 if count is None else max(1, count)


def power(vm: Answer) -> Power:
    """The power state that counts for an import."""
    return POWER_STATES.get(vm.text("status"), Power.ON)


def firmware(vm: Answer, cluster: Answer) -> Firmware:
    """bios.type, or that of the cluster; tpm_enabled means a TPM 2.0 (tpm-crb)."""
    described = FIRMWARE.get(bios_type(vm, cluster), Firmware())
    if not vm.flag("tpm_enabled"):
        return described
    return described.model_copy(update={"tpm": True, "tpm_version": "2.0"})


def bios_type(vm: Answer, cluster: Answer) -> str:
    """The BiosType after the cluster's default is resolved; "" if it is unknown."""
    own = vm.text("bios", "type")
    return cluster.text("bios_type") if own in ("", "cluster_default") else own


def serial(vm: Answer, cluster: Answer) -> str:
    """The SMBIOS serial number; "" for the policies `host`, which is the engine's default, and `none`."""
    policy = vm if vm.text("serial_number", "policy") else cluster
    match policy.text("serial_number", "policy"):
        case "vm":
            return vm.text("id")
        case "custom":
            return policy.text("serial_number", "value")
        case _:
            return ""


def operating_system(vm: Answer) -> str:
    """The guest's system as in steps/model/guestos.py; what the guest agent reports is more precise."""
    guest = vm.child("guest_operating_system")
    return guestos.of_ovirt(
        vm.text("os", "type"), guest.text("distribution"), guest.text("version", "full_version")
    )


def _guest_name(vm: Answer) -> str:
    guest = vm.child("guest_operating_system")
    return " ".join(filter(None, (guest.text("distribution"), guest.text("version", "full_version"))))


def clock(vm: Answer, *, is_windows: bool) -> Clock:
    """utc_offset, else the zone: an IANA name, or for Windows guests one of Windows. UTC if it is unknown."""
    offset = _OFFSET.fullmatch(vm.text("time_zone", "utc_offset"))
    if offset is not None:
        seconds = int(offset[2]) * 3600 + int(offset[3]) * 60
        return Clock(offset_seconds=-seconds if offset[1] == "-" else seconds)
    zone = iana_zone(vm.text("time_zone", "name") or (_WINDOWS_DEFAULT if is_windows else ""))
    return Clock(timezone=zone) if zone and zone not in _UTC_ZONES else Clock()


def iana_zone(name: str) -> str:
    """The IANA name of a zone (Windows names by the table of CLDR); "" if it is unknown."""
    found: str | None = win_tz.get(name)
    if found is not None:
        return found
    return name if name in _UTC_ZONES or ("/" in name and _ZONE.fullmatch(name)) else ""


def disks(vm: Answer, around: Surroundings) -> tuple[Disk, ...]:
    """The disks with a size, the bootable one first, then by their names in the guest, else by their aliases.

    The order of the API is random.
    """
    attachments = [found for found in attachments_in_order(vm) if capacity(found) > 0]
    boot_order = boot_orders(vm).get("hd")
    described = []
    for number, attachment in enumerate(listed(attachments)):
        disk, domain = attachment.child("disk"), _domain_id(attachment)
        described.append(
            Disk(
                id=f"disk-{number}",
                key=disk_id(attachment),
                label=label(attachment),
                capacity=capacity(attachment),
                controller=BUSES.get(attachment.text("interface"), Controller.UNKNOWN),
                unit=number,
                boot_order=boot_order if attachment.flag("bootable") else None,
                uuid=disk_id(attachment),
                serial=disk_id(attachment),
                backing=f"[{_domain_name(domain, around)}] {disk.text('image_id')}" if domain else "",
                allocated=disk.number("actual_size"),
                storage=_domain_name(domain, around) if domain else "",
                storage_id=domain,
            )
        )
    return tuple(described)


def attachments_in_order(vm: Answer) -> list[Answer]:
    """The disk attachments of a VM in the order in which they are described."""

    def sort_key(attachment: Answer) -> tuple[bool, bool, tuple[object, ...], str]:
        device = attachment.text("logical_name")
        return (
            not attachment.flag("bootable"),
            not device,
            _natural(device or label(attachment)),
            disk_id(attachment),
        )

    return sorted(vm.items("disk_attachments", "disk_attachment"), key=sort_key)


def disk_id(attachment: Answer) -> str:
    """The id of the attached disk, which is also that of the attachment."""
    return attachment.text("disk", "id") or attachment.required("id")


def label(attachment: Answer) -> str:
    """The disk's alias."""
    return attachment.text("disk", "alias") or attachment.text("disk", "name") or disk_id(attachment)


def capacity(attachment: Answer) -> int:
    """Bytes of a disk, in whole sectors; 0 if they are unknown. Of a LUN those of the LUN."""
    disk = attachment.child("disk")
    size = disk.number("provisioned_size")
    if not size:
        units = disk.child("lun_storage").items("logical_units", "logical_unit")
        size = next((unit.number("size") for unit in units), None)
    return whole_sectors(size or 0)


def _domain_id(attachment: Answer) -> str:
    domains = attachment.child("disk").items("storage_domains", "storage_domain")
    return domains[0].text("id") if domains else ""


def _domain_name(domain: str, around: Surroundings) -> str:
    found = around.domains.get(domain)
    return found.text("name") if found is not None else domain


def boot_orders(vm: Answer) -> dict[str, int]:
    """The places of `hd`, `network` and `cdrom` in the boot order, from 1; a disk if none is set."""
    devices = dict.fromkeys(vm.texts("os", "boot", "devices", "device") or ("hd",))
    return {device: number for number, device in enumerate(devices, start=1)}


def nics(vm: Answer, around: Surroundings) -> Iterator[Nic]:
    """The NICs by their names, so that nic2 is before nic10. The first plugged one boots from the network."""
    order = boot_orders(vm).get("network")
    for number, nic in enumerate(listed(nics_in_order(vm))):
        is_plugged = nic.flag("plugged", default=True)
        mac = nic.text("mac", "address").lower()
        profile = nic.text("vnic_profile", "id")
        yield Nic(
            id=f"nic-{number}",
            mac=mac if _MAC.fullmatch(mac) else None,
            model=NIC_MODELS.get(nic.text("interface"), NicModel.UNKNOWN),
            network=around.network_name(profile) or profile,
            network_id=profile,
            vlan=around.vlan(profile),
            label=nic.text("name"),
            plugged=is_plugged,
            connected=is_plugged and nic.flag("linked", default=True),
            boot_order=order if is_plugged else None,
        )
        if is_plugged:
            order = None


def nics_in_order(vm: Answer) -> list[Answer]:
    """The NICs of a VM in the order in which they are described."""
    return sorted(vm.items("nics", "nic"), key=lambda nic: (_natural(nic.text("name")), nic.text("id")))


def _natural(name: str) -> tuple[object, ...]:
    """A key that sorts numbers in names by their value."""
    parts = re.split(r"([0-9]{1,18})", name)
    return tuple(int(part) if number % 2 else part.casefold() for number, part in enumerate(parts))


def change_version(vm: Answer) -> str:
    """A digest of the description: the engine has no version of a configuration.

    What changes by itself is left out: states, statistics, times.
    """
    hardware = {
        key: vm.child(key).value for key in ("cpu", "memory", "bios", "os", "time_zone", "serial_number")
    }
    disks = [
        (disk_id(attachment), attachment.text("interface"), capacity(attachment), attachment.flag("bootable"))
        for attachment in attachments_in_order(vm)
    ]
    nics = [
        (nic.text("name"), nic.text("mac", "address"), nic.text("interface")) for nic in nics_in_order(vm)
    ]
    text = json.dumps([hardware, disks, nics], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
