"""A server as a `Machine`. Pure: facts in, document out.

If a property is in several places, the first of these counts: the metadata that Cinder copied from
the image to the boot volume (volume_image_metadata), the image's own properties, the server's metadata, the
flavor's extra specs (which spell `hw_cpu_cores` as `hw:cpu_cores`). Names and values: Nova, "Useful image
properties" (Glance documentation) and nova/objects/fields.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from steps.model import guestos
from steps.model.contract import Exit, StepError
from steps.model.machine import Clock, Controller, Disk, Firmware, Machine, Nic, NicModel, Power, listed
from steps.providers.openstack.concerns import concerns
from steps.providers.openstack.facts import GIB, ServerFacts, root_size

ROOT: Final = "root"
"""The key of a root disk that is not a volume."""

BUSES: Final[dict[str, Controller]] = {
    "virtio": Controller.VIRTIO,
    "scsi": Controller.SCSI,
    "ide": Controller.IDE,
    "sata": Controller.SATA,
    "usb": Controller.USB,
    "nvme": Controller.NVME,
}
"""hw_disk_bus (nova/objects/fields.py, DiskBus); without it KVM gives virtio."""
NIC_MODELS: Final[dict[str, NicModel]] = {
    "virtio": NicModel.VIRTIO,
    "e1000": NicModel.E1000,
    "e1000e": NicModel.E1000E,
    "ne2k_pci": NicModel.NE2K_PCI,
    "pcnet": NicModel.PCNET32,
    "rtl8139": NicModel.RTL8139,
    "vmxnet3": NicModel.VMXNET3,
    "VirtualVmxnet": NicModel.VMXNET,
    "VirtualVmxnet3": NicModel.VMXNET3,
    "VirtualE1000": NicModel.E1000,
    "VirtualE1000e": NicModel.E1000E,
    "VirtualPCNet32": NicModel.PCNET32,
}
"""hw_vif_model (nova/network/model.py); without it KVM gives virtio."""
POWER_STATES: Final[dict[str, Power]] = {
    "SHUTOFF": Power.OFF,
    "SUSPENDED": Power.SUSPENDED,
    "PAUSED": Power.SUSPENDED,
}
"""Server statuses (Compute API); others count as on, and `concerns` blocks those that cannot be shut down."""
_SRIOV: Final = ("direct", "direct-physical", "macvtap", "virtio-forwarder", "vdpa", "accelerator-direct")


def machine(facts: ServerFacts) -> Machine:
    """The document of a server; its concerns are `concerns.concerns`.

    Raises:
        StepError: NOT_FOUND, if its flavor was deleted, and with it the server's size.
    """
    server, flavor = facts.server, facts.flavor
    if flavor is None:
        raise StepError(
            Exit.NOT_FOUND,
            f"cannot describe server {server.name}",
            "its flavor was deleted, and this cloud does not keep a copy with the server",
            "resize it to another flavor at the source",
        )
    values = properties(facts)
    threads = positive_int(values, "hw_cpu_threads") or 1
    described_disks = disks(facts, values)
    return Machine(
        name=server.name,
        source_id=server.id,
        path=server.name,
        uuid=server.id,
        serial=server.id,
        instance_uuid=server.id,
        vcpus=flavor.vcpus,
        cores_per_socket=cores_per_socket(values, flavor.vcpus, threads),
        threads_per_core=threads,
        memory_mib=flavor.ram,
        firmware=firmware(values),
        disks=described_disks,
        nics=tuple(nics(facts, values)),
        guest_id=values.get("os_distro", ""),
        guest_name=" ".join(filter(None, (values.get("os_distro", ""), values.get("os_version", "")))),
        os=guestos.of_openstack(*(values.get(key, "") for key in ("os_distro", "os_version", "os_type"))),
        clock=Clock(base="localtime") if values.get("os_type") == "windows" else Clock(),
        notes=server.description or "",
        power=POWER_STATES.get(server.status, Power.ON),
        tools_running=True,  # Nova asks every guest to shut down, and stops those that do not
        change_version=facts.generation,
        concerns=tuple(concerns(facts, values, described_disks)),
    )


def properties(facts: ServerFacts) -> dict[str, str]:
    """The properties of the server's virtual hardware, the most specific source first."""
    specs = {key.replace(":", "_"): value for key, value in (facts.flavor.extra_specs or {}).items()}
    boot = boot_volume(facts)
    sources: tuple[Mapping[str, Any], ...] = (
        specs,
        facts.server.metadata or {},
        facts.image or {},
        (boot.volume_image_metadata or {}) if boot is not None else {},
    )
    return {key: str(value) for source in sources for key, value in source.items() if value not in (None, "")}


def cores_per_socket(values: Mapping[str, str], vcpus: int, threads: int) -> int:
    """Cores per socket: as set, or by the number of sockets; Nova prefers sockets with one core.

    (nova/virt/hardware.py: what is fixed is fixed; of the rest sockets come first, up to their maximum.)
    """
    set_cores = positive_int(values, "hw_cpu_cores")
    sockets = positive_int(values, "hw_cpu_sockets") or min(
        positive_int(values, "hw_cpu_max_sockets") or vcpus, vcpus
    )
    return set_cores or max(1, vcpus // (sockets * threads))


def positive_int(values: Mapping[str, str], key: str) -> int:
    """A property that is a number above 0; else 0."""
    text = values.get(key, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def firmware(values: Mapping[str, str]) -> Firmware:
    """hw_firmware_type; os_secure_boot (required, optional, disabled); hw_tpm_model and hw_tpm_version."""
    secure = values.get("os_secure_boot", "").lower() in ("required", "optional")
    tpm = any(values.get(key) for key in ("hw_tpm_model", "hw_tpm_version"))
    version = values.get("hw_tpm_version", "")
    return Firmware(
        kind="efi" if values.get("hw_firmware_type", "").lower() == "uefi" else "bios",
        secure_boot=secure,
        tpm=tpm,
        tpm_version=version if version in ("1.2", "2.0") else "",
    )


def disks(facts: ServerFacts, values: Mapping[str, str]) -> tuple[Disk, ...]:
    """The root disk that is not a volume, if there is one, then the volumes by their device names."""
    bus = BUSES.get(values.get("hw_disk_bus", "virtio"), Controller.UNKNOWN)
    root = root_size(facts)
    boot = boot_volume(facts)
    described_disks = []
    if root:
        described_disks.append(
            Disk(id="disk-0", key=ROOT, label="root disk", capacity=root, controller=bus, boot_order=1)
        )
    for volume in volumes_by_device(facts):
        described_disks.append(
            Disk(
                id=f"disk-{len(described_disks)}",
                key=volume.id,
                label=volume.name or device_name(volume, facts.server.id),
                capacity=volume.size * GIB,
                controller=bus,
                unit=len(described_disks),
                boot_order=1 if boot is not None and volume.id == boot.id else None,
                uuid=volume.id,
                serial=volume.id,
                backing=f"[{volume.volume_type}] {device_name(volume, facts.server.id)}",
                storage=volume.volume_type or "",
            )
        )
    return tuple(described_disks)


def boot_volume(facts: ServerFacts) -> Any:
    """The volume the server boots from, the first that is bootable or else the first; None with an image."""
    if facts.image is not None or facts.is_image_deleted:
        return None
    volumes = volumes_by_device(facts)
    return next((volume for volume in volumes if volume.is_bootable), volumes[0] if volumes else None)


def volumes_by_device(facts: ServerFacts) -> list[Any]:
    """The volumes in the order of their device names: vdb before vdaa, as the kernel counts."""

    def sort_key(volume: Any) -> tuple[int, str]:
        name = device_name(volume, facts.server.id)
        return len(name), name

    return sorted(facts.volumes, key=sort_key)


def device_name(volume: Any, server: str) -> str:
    """The device name of the volume in the server, such as /dev/vda."""
    devices = (
        attachment.get("device")
        for attachment in volume.attachments or ()
        if attachment.get("server_id") == server
    )
    return next(devices, None) or ""


def nics(facts: ServerFacts, values: Mapping[str, str]) -> Iterator[Nic]:
    """One NIC per port, even with several addresses, in Nova's order."""
    model = NIC_MODELS.get(values.get("hw_vif_model", "virtio"), NicModel.UNKNOWN)
    for index, port in enumerate(listed(ports_in_order(facts))):
        mac = _mac(port)
        yield Nic(
            id=f"nic-{index}",
            mac=mac if re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", mac) else None,
            model=NicModel.SRIOV if port.binding_vnic_type in _SRIOV else model,
            network=facts.networks.get(port.network_id, port.network_id),
            network_id=port.network_id,
            vlan=facts.vlans.get(port.network_id),
            connected=port.is_admin_state_up is not False,
        )


def ports_in_order(facts: ServerFacts) -> list[Any]:
    """The ports in the order in which Nova plugged them, as far as its API shows that.

    `addresses` keeps the order of Nova's cache, but has no port without an address, and groups the ports by
    network (nova/api/openstack/compute/views/addresses.py). `os-interface` has all ports in the order of
    Neutron's list, which is that of their ids unless the cloud sorts them otherwise
    (nova/api/openstack/compute/attach_interfaces.py). The age of the ports fills the gaps: Nova creates them
    one after the other.
    """
    places = {port_id: number for number, port_id in enumerate(facts.interfaces)}
    is_plain = list(facts.interfaces) == sorted(facts.interfaces)

    def sort_key(port: Any) -> tuple[str, int, str]:
        port_id = str(port.id)
        age = str(port.created_at or "") if is_plain else ""
        return age, places.get(port_id, len(places)), port_id

    ordered = sorted(facts.ports, key=sort_key)
    networks = _macs_by_network(facts.server.addresses or {})
    addressed = [port for port in ordered if any(_mac(port) in macs for macs in networks.values())]
    if _regrouped(addressed, networks) == [(name, list(macs)) for name, macs in networks.items()]:
        return ordered
    # They contradict `addresses`, which is right: its ports take the places of ports with addresses.
    by_mac = {_mac(port): port for port in addressed}
    macs = (mac for macs in networks.values() for mac in macs)
    known = iter([by_mac.pop(mac) for mac in macs if mac in by_mac])
    return [next(known, port) if port in addressed else port for port in ordered]


def _mac(port: Any) -> str:
    return str(port.mac_address or "").lower()


def _macs_by_network(addresses: Mapping[str, Any]) -> dict[str, dict[str, None]]:
    """The MAC addresses in each network of `addresses`, in their order."""
    rows = {
        name: dict.fromkeys(
            str(row.get("OS-EXT-IPS-MAC:mac_addr") or "").lower() for row in listed_rows or ()
        )
        for name, listed_rows in addresses.items()
    }
    return {name: macs for name, macs in rows.items() if macs}


def _regrouped(ports: list[Any], networks: Mapping[str, Mapping[str, None]]) -> list[tuple[str, list[str]]]:
    """What `addresses` would have for these ports, with the names in `networks`."""
    names = {mac: name for name, macs in networks.items() for mac in macs}
    groups: dict[str, list[str]] = {}
    for port in ports:
        groups.setdefault(names[_mac(port)], []).append(_mac(port))
    return list(groups.items())
