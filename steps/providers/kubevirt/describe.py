"""A VM as a `Machine`. Pure: the API's objects in, document out.

Fields and defaults: kubevirt.io/api v1.8.4, core/v1/schema.go and types.go (KV: the repository of KubeVirt).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

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
from steps.providers.kubevirt.answers import Answer
from steps.providers.kubevirt.find import POD_NETWORK, Found, claim_name, template
from steps.providers.kubevirt.history import State

MIB: Final = 1 << 20
MOST_VCPUS: Final = 1 << 12
MOST_DIGITS: Final = 10
LARGEST: Final = 1 << 62
"""Bytes of a disk or of memory."""

BUSES: Final[dict[str, Controller]] = {
    "virtio": Controller.VIRTIO,
    "scsi": Controller.SCSI,
    "sata": Controller.SATA,
    "usb": Controller.USB,
}
"""KV schema.go, DiskBus. KubeVirt chooses `sata` if none is written (KV pkg/defaults)."""
NIC_MODELS: Final[dict[str, NicModel]] = {
    "virtio": NicModel.VIRTIO,
    "e1000": NicModel.E1000,
    "e1000e": NicModel.E1000E,
    "rtl8139": NicModel.RTL8139,
    "ne2k_pci": NicModel.NE2K_PCI,
    "pcnet": NicModel.PCNET32,
}
HARVESTER_MACS: Final = "harvesterhci.io/mac-address"
"""Harvester's annotation with the addresses of the NICs by name, as JSON (its pkg/util/constants.go)."""
HARVESTER_OS: Final = "harvesterhci.io/os"
"""Harvester's label with the system of the guest."""
TEMPLATE_OS: Final = "vm.kubevirt.io/os"
"""Annotation of the common templates of KubeVirt."""
_DESCRIPTIONS: Final = ("field.cattle.io/description", "description")
_MAC: Final = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")
_UTC_ZONES: Final = ("Etc/GMT", "Etc/UTC", "GMT", "UTC")


def machine(found: Found, concerns: tuple[Concern, ...] = ()) -> Machine:
    """The document of a VM, with the concerns of `concerns.concerns`.

    Raises:
        StepError: UNREACHABLE, if the objects cannot be a VM.
    """
    vm, instance = found.vm, found.instance
    name, namespace = vm.required("metadata", "name"), vm.required("metadata", "namespace")
    sockets, cores, threads = topology(vm)
    vcpus = sockets * cores * threads
    if not 0 < vcpus <= MOST_VCPUS:
        raise vm.unusable(f"the VM {name} has {vcpus} virtual CPUs")
    memory_mib = memory(vm) // MIB
    if not memory_mib:
        raise vm.unusable(f"the VM {name} has no memory")
    return Machine(
        name=name,
        source_id=vm.required("metadata", "uid"),
        path=f"{namespace}/{name}",
        uuid=system_uuid(found),
        instance_uuid=vm.uid,
        serial=domain(vm).text("firmware", "serial"),
        vcpus=vcpus,
        cores_per_socket=cores,
        threads_per_core=threads,
        memory_mib=memory_mib,
        firmware=firmware(vm),
        disks=disks(found),
        nics=tuple(nics(found)),
        clock=clock(vm),
        os=operating_system(found),
        guest_id=vm.label(HARVESTER_OS) or vm.annotation(TEMPLATE_OS),
        guest_name="" if instance is None else instance.text("status", "guestOSInfo", "prettyName"),
        notes=next(filter(None, map(vm.annotation, _DESCRIPTIONS)), ""),
        power=Power.ON if State(vm, instance).is_on else Power.OFF,
        tools_running=True,  # KubeVirt asks the guest by ACPI
        change_version=vm.text("metadata", "generation"),
        concerns=concerns,
    )


def tags(vm: Answer) -> tuple[Tag, ...]:
    """The labels of a VM, by their keys."""
    labels = vm.child("metadata", "labels")
    return tuple(Tag(name=key, value=labels.text(key)) for key in sorted(labels.keys()))


def domain(vm: Answer) -> Answer:
    """The hardware of a VM."""
    return template(vm).child("domain")


def topology(vm: Answer) -> tuple[int, int, int]:
    """Sockets, cores, threads. Without any, limits or requests name the sockets (KV vcpu.GetCPUTopology)."""
    cpu = domain(vm).child("cpu")
    counts = [cpu.number(part) or 0 for part in ("sockets", "cores", "threads")]
    if not any(counts):
        resources = domain(vm).child("resources")
        counts[0] = _cpus(resources, "limits") or _cpus(resources, "requests") or 1
    sockets, cores, threads = (max(1, count) for count in counts)
    return sockets, cores, threads


def _cpus(resources: Answer, kind: str) -> int:
    """Processors of a limit or a request, rounded up: `2`, `1.5` or `1500m`; 0 if it is missing."""
    text = resources.text(kind, "cpu")
    milli = text.removesuffix("m")
    if text != milli and milli.isascii() and milli.isdecimal() and len(milli) < MOST_DIGITS:
        return -(-int(milli) // 1000)
    return resources.quantity(kind, "cpu") or 0


def memory(vm: Answer) -> int:
    """Bytes that the guest sees (KV vcpu.GetVirtualMemory)."""
    found = domain(vm)
    places = (("memory", "guest"), ("resources", "requests", "memory"), ("resources", "limits", "memory"))
    size = next(filter(None, (found.quantity(*place) for place in places)), 0)
    return min(size, LARGEST)


def system_uuid(found: Found) -> str:
    """The SMBIOS UUID: KubeVirt writes the one that it chose into the instance."""
    place = ("firmware", "uuid")
    own = domain(found.vm).text(*place)
    return own or ("" if found.instance is None else found.instance.text("spec", "domain", *place))


def firmware(vm: Answer) -> Firmware:
    """BIOS or EFI. `secureBoot` is on where it is not written; a `tpm` may be switched off."""
    loader = domain(vm).child("firmware", "bootloader")
    tpm = domain(vm).child("devices", "tpm")
    has_tpm = tpm.value is not None and tpm.flag("enabled", default=True)
    kind = Firmware(tpm=has_tpm, tpm_version="2.0" if has_tpm else "")
    if not loader.has("efi"):
        return kind
    secure = loader.flag("efi", "secureBoot", default=True)
    return kind.model_copy(update={"kind": "efi", "secure_boot": secure})


def clock(vm: Answer) -> Clock:
    """UTC with an offset, or a time zone."""
    found = domain(vm).child("clock")
    zone = found.text("timezone")
    if zone and zone not in _UTC_ZONES:
        return Clock(timezone=zone)
    offset = found.child("utc", "offsetSeconds").value
    is_offset = type(offset) is int and abs(offset) <= 14 * 3600  # no place is further from UTC
    return Clock(offset_seconds=offset if is_offset else 0)


def operating_system(found: Found) -> str:
    """The guest's system as in steps/model/guestos.py; what the guest agent reports is more precise."""
    vm = found.vm
    configured = vm.annotation(TEMPLATE_OS) or template_annotation(vm, TEMPLATE_OS) or vm.label(HARVESTER_OS)
    guest = Answer({}) if found.instance is None else found.instance.child("status", "guestOSInfo")
    distribution = guest.text("id")
    reported = "windows" if distribution == "mswindows" else distribution
    version = guest.text("versionId") or guest.text("version")
    return guestos.of_ovirt(configured, reported, version)


def template_annotation(vm: Answer, name: str) -> str:
    """An annotation of the template of the instance."""
    return vm.text("spec", "template", "metadata", "annotations", name)


def volumes(vm: Answer) -> dict[str, Answer]:
    """The volumes of a VM by name."""
    return {volume.text("name"): volume for volume in template(vm).elements("volumes")}


def devices(vm: Answer) -> tuple[Answer, ...]:
    """The disks, CD-ROMs and LUNs of a VM, in the order in which they are written."""
    return domain(vm).items("devices", "disks")


def is_disk(device: Answer) -> bool:
    """Whether a device is a hard disk: `disk` is what KubeVirt takes if no kind is written."""
    return not device.has("cdrom") and not device.has("lun") and not device.has("floppy")


def carried(found: Found) -> Iterator[tuple[Answer, str, Answer]]:
    """The disks that are imported: device, name of the claim, claim."""
    known = volumes(found.vm)
    for device in devices(found.vm):
        claim = claim_name(known.get(device.text("name"), Answer({})))
        if is_disk(device) and claim in found.claims and capacity(found.claims[claim]):
            yield device, claim, found.claims[claim]


def disks(found: Found) -> tuple[Disk, ...]:
    """The disks on claims, the first one to boot from first, then in the order in which they are written."""
    boots = [device.number("bootOrder") or None for device, _, _ in carried(found)]
    in_order = sorted(
        enumerate(carried(found)), key=lambda item: (boots[item[0]] or len(boots) + LARGEST, item[0])
    )
    described = []
    for number, (position, (device, claim, answer)) in enumerate(listed(in_order)):
        name = device.required("name")
        described.append(
            Disk(
                id=f"disk-{number}",
                key=name,
                label=name,
                capacity=capacity(answer),
                controller=BUSES.get(bus(device), Controller.UNKNOWN),
                unit=number,
                boot_order=boots[position],
                uuid=answer.uid,
                serial=device.text("serial"),
                backing=claim,
                storage=answer.text("spec", "storageClassName"),
            )
        )
    return tuple(described)


def bus(device: Answer) -> str:
    """The bus of a disk."""
    return device.text("disk", "bus") or "sata"


def capacity(claim: Answer) -> int:
    """Bytes of a claim, in whole sectors; 0 while it has no volume."""
    size = claim.quantity("status", "capacity", "storage") or 0
    if not claim.text("spec", "volumeName"):
        return 0
    return min(whole_sectors(size), LARGEST)


def is_block(claim: Answer) -> bool:
    """Whether the volume is a device, and not a filesystem with a file disk.img."""
    return claim.text("spec", "volumeMode") == "Block"


def nics(found: Found) -> Iterator[Nic]:
    """The NICs in the order in which they are written, which is that of their places on the PCI bus."""
    macs = given_macs(found)
    for number, interface in enumerate(listed(interfaces(found.vm))):
        name = interface.required("name")
        mac = (interface.text("macAddress") or macs.get(name, "")).lower().replace("-", ":")
        network = network_of(found.vm, name)
        state = interface.text("state")
        yield Nic(
            id=f"nic-{number}",
            mac=mac if _MAC.fullmatch(mac) else None,
            model=nic_model(interface),
            network=network,
            network_id=network,
            label=name,
            plugged=state != "absent",
            connected=state not in ("absent", "down"),
            boot_order=interface.number("bootOrder") or None,
        )


def interfaces(vm: Answer) -> tuple[Answer, ...]:
    """The NICs of a VM; without any, KubeVirt adds one in the pod network unless that is switched off."""
    return domain(vm).items("devices", "interfaces")


def nic_model(interface: Answer) -> NicModel:
    """The model that the guest sees: virtio where none is written."""
    if interface.has("sriov"):
        return NicModel.SRIOV
    return NIC_MODELS.get(interface.text("model") or "virtio", NicModel.UNKNOWN)


def network_of(vm: Answer, name: str) -> str:
    """The network of the NIC of that name: NAMESPACE/NAME of a NetworkAttachmentDefinition, or `pod`."""
    for network in template(vm).elements("networks"):
        if network.text("name") == name:
            attached = network.text("multus", "networkName")
            namespace = vm.text("metadata", "namespace")
            return (attached if "/" in attached else f"{namespace}/{attached}") if attached else POD_NETWORK
    return ""


def given_macs(found: Found) -> dict[str, str]:
    """The addresses of NICs by name, as the running instance, or Harvester, knows them."""
    try:
        noted = json.loads(found.vm.annotation(HARVESTER_MACS) or "{}")
    except (ValueError, RecursionError):
        noted = {}
    macs = {str(name): str(mac) for name, mac in noted.items()} if isinstance(noted, dict) else {}
    if found.instance is not None:
        reported = found.instance.child("status").elements("interfaces")
        macs |= {one.text("name"): one.text("mac") for one in reported if one.text("mac")}
    return macs
