"""CPU, memory, disks and NICs of a system."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from steps.model.contract import Exit, StepError
from steps.model.machine import Controller, Nic, NicModel, listed
from steps.providers.ova import units
from steps.providers.ova.envelope import Envelope, System, VirtualDisk
from steps.providers.ova.items import Item, ResourceType, index_by_id, parse_int

_MAX_VCPUS: Final = 4096
MAX_CAPACITY: Final = 64 << 40
"""Bytes. vSphere's largest disk has 62 TiB (Broadcom, Configuration Maximums); more is an error."""
_MAX_MEMORY: Final = 1 << 46
"""64 TiB; the largest VMs of any hypervisor have less than half of it."""
_MIB: Final = 1 << 20
ASSUMED_VCPUS: Final = 1
"""As vSphere and virt-v2v take a descriptor without processors."""
ASSUMED_MEMORY_MIB: Final = 1024
"""As virt-v2v takes a descriptor without memory (input/parse_ovf_from_ova.ml)."""

_CONTROLLERS: Final = (
    # A part of the subtype and its meaning: the first match counts.
    ("virtualscsi", Controller.PVSCSI),
    ("pvscsi", Controller.PVSCSI),
    ("lsilogicsas", Controller.LSILOGIC_SAS),
    ("lsilogic", Controller.LSILOGIC),
    ("buslogic", Controller.BUSLOGIC),
    ("nvme", Controller.NVME),
    ("ahci", Controller.SATA),
    ("sata", Controller.SATA),
    ("piix", Controller.IDE),
    ("ich6", Controller.IDE),
    ("ide", Controller.IDE),
    ("scsi", Controller.SCSI),
    ("virtio", Controller.VIRTIO),
    ("usb", Controller.USB),
    ("hci", Controller.USB),
)
"""Of VMware (ovftool), VirtualBox (ovfreader.cpp) and oVirt (DiskInterface), without `-` and `_`."""
_BY_KIND: Final = {
    str(int(ResourceType.IDE)): Controller.IDE,
    str(int(ResourceType.SCSI)): Controller.SCSI,
    str(int(ResourceType.USB)): Controller.USB,
}
_NO_CONTROLLERS: Final = (
    ResourceType.PROCESSOR,
    ResourceType.MEMORY,
    ResourceType.ETHERNET,
    ResourceType.CD,
    ResourceType.DVD,
    ResourceType.FLOPPY,
)
"""Kinds of items that are never a disk's controller."""
_NIC_MODELS: Final = {
    "vmxnet": NicModel.VMXNET,
    "vmxnet2": NicModel.VMXNET2,
    "vmxnet3": NicModel.VMXNET3,
    "e1000": NicModel.E1000,
    "e1000e": NicModel.E1000E,
    "pcnet32": NicModel.PCNET32,
    "rtl8139": NicModel.RTL8139,
    "ne2k_pci": NicModel.NE2K_PCI,
    "virtio": NicModel.VIRTIO,
    "virtionet": NicModel.VIRTIO,
    "sriov": NicModel.SRIOV,
    "vmware.sriov": NicModel.SRIOV,
    # oVirt's VmInterfaceType
    "1": NicModel.RTL8139,
    "2": NicModel.E1000,
    "3": NicModel.VIRTIO,
    "5": NicModel.SRIOV,
    "6": NicModel.E1000E,
}
_MAC: Final = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True)
class Drive:
    """A disk on its controller. `disk` is None if the item refers to no disk of the package."""

    key: str
    """Unique in the VM: the disk's id, with the item's id if a disk is on two controllers."""
    item: Item
    disk: VirtualDisk | None
    controller: Controller
    bus: int


class VendorNic(NamedTuple):
    """Vendor-specific data about a NIC."""

    address: str
    model: NicModel | None


@dataclass(frozen=True)
class Cpu:
    """Virtual processors and how they are grouped."""

    count: int
    cores: int = 1
    threads: int = 1


def cpu(items: Sequence[Item], name: str) -> Cpu:
    """The processors; `ASSUMED_VCPUS` without an item. Cores per socket are VMware's and oVirt's word.

    A topology that does not fit their number is kept as it is written: `steps.model.mapping.topology` changes
    it.

    Raises:
        StepError: INVALID, if the number is unreadable or impossible.
    """
    processors = [item for item in items if item.is_a(ResourceType.PROCESSOR)]
    first = next(iter(processors), None)
    if first is None:
        return Cpu(ASSUMED_VCPUS)
    node = first.node
    threads = parse_int(node.value("threads_per_cpu")) or 1
    cores = parse_int(node.value("CoresPerSocket", "cpu_per_socket")) or 1
    sockets = parse_int(node.value("num_of_sockets")) or 1
    count = (
        sum(parse_int(item.node.value("VirtualQuantity")) for item in processors) or sockets * cores * threads
    )
    if count > _MAX_VCPUS:
        raise _invalid(name, f"it has {count} processors")
    return Cpu(count, cores, threads)


def memory_mib(items: Sequence[Item], name: str) -> int:
    """Memory in MiB; `ASSUMED_MEMORY_MIB` without an item for it.

    Raises:
        StepError: INVALID, if it is unreadable or impossible.
    """
    memory_items = [item for item in items if item.is_a(ResourceType.MEMORY)]
    if not memory_items:
        return ASSUMED_MEMORY_MIB
    size = 0
    for item in memory_items:
        quantity, unit = item.node.value("VirtualQuantity"), item.node.value("AllocationUnits")
        try:
            part = units.parse_size(quantity, unit)
        except ValueError as error:
            raise _invalid(name, f"its memory cannot be read: {error}") from None
        # Without a unit they are bytes (CIM), but some writers mean MiB: no VM has less than a MiB.
        size += part * _MIB if part < _MIB and not unit else part
    if not _MIB <= size <= _MAX_MEMORY:
        raise _invalid(name, f"it has {size} bytes of memory")
    return -(-size // _MIB)


def drives(envelope: Envelope, system: System, items: Sequence[Item]) -> Iterator[Drive]:
    """The disks in the descriptor's order.

    Raises:
        StepError: AMBIGUOUS, if several disks, files or controllers have an identifier that is used.
    """
    others = (item for item in items if not item.is_disk and not item.is_a(*_NO_CONTROLLERS))
    controllers = index_by_id(others, system)
    seen = set[str]()
    for item in (item for item in items if item.is_disk):
        disk, parent = find_disk(envelope, _host_resource(item)), controllers.find(item.parent)
        controller = controller_type(disk.interface if disk and disk.interface else parent)
        key = _disk_key(disk.id if disk else "", item, seen)
        seen.add(key)
        yield Drive(key, item, disk, controller, parse_int(parent.node.value("Address")) if parent else 0)


def _disk_key(disk: str, item: Item, taken: Collection[str]) -> str:
    """The disk's id if it is free, else with the item's id, else with a number."""
    if disk not in taken:
        return disk
    candidate = f"{disk}/{item.id or len(taken)}"
    return candidate if candidate not in taken else f"{candidate}/{len(taken)}"


def _host_resource(item: Item) -> str:
    """The reference of a disk's item; of several only one could become the disk."""
    resources = list(
        dict.fromkeys(filter(None, (node.text.strip() for node in item.node.find_all("HostResource"))))
    )
    if len(resources) > 1:
        raise StepError(
            Exit.AMBIGUOUS,
            f"{item.label or item.id or 'a disk'} refers to {', '.join(resources)}",
            "a disk uses one of them, and it is not clear which one",
            "give each its own item in the descriptor",
        )
    return resources[0] if resources else ""


def find_disk(envelope: Envelope, resource: str) -> VirtualDisk | None:
    """`ovf:/disk/ID`, `ovf:/file/ID`; oVirt names the file, which is called GROUP/ID there."""
    kind, disk_id = parse_resource(resource)
    if kind == "disk":
        return envelope.disks.find(disk_id)
    if kind == "file" and (file := envelope.files.find(disk_id)):
        return VirtualDisk(id=disk_id, file=file, capacity=0)
    return envelope.disks.find(disk_id) or envelope.disks.find(resource)


def parse_resource(resource: str) -> tuple[str, str]:
    """The kind of object that a HostResource refers to, and its identifier."""
    kind, _, resource_id = resource.removeprefix("ovf:").strip("/").partition("/")
    return kind, resource_id


def controller_type(parent: Item | str | None) -> Controller:
    """The controller's type: by its subtype, else by its kind; or oVirt's name for it."""
    if parent is None:
        return Controller.UNKNOWN
    if isinstance(parent, str):
        return _controller_by_subtype(parent.lower()) or Controller.UNKNOWN
    types = filter(None, map(_controller_by_subtype, parent.subtypes))
    return next(types, None) or _BY_KIND.get(parent.kind, Controller.UNKNOWN)


def _controller_by_subtype(subtype: str) -> Controller | None:
    normalized = re.sub(r"[-_]", "", subtype)
    return next((kind for part, kind in _CONTROLLERS if part in normalized), None)


def nics(
    items: Sequence[Item], boot: Mapping[Item, int], vendor_nics: Sequence[VendorNic]
) -> tuple[Nic, ...]:
    """The NICs. `boot`: the positions of the items to boot from; `vendor_nics`: vendor-specific data."""
    nic_items = [candidate for candidate in items if candidate.is_a(ResourceType.ETHERNET)]
    hints = vendor_nics if len(vendor_nics) == len(nic_items) else [VendorNic("", None)] * len(nic_items)
    return tuple(
        Nic(
            id=f"nic-{number}",
            mac=_normalized_mac(item.node.value("Address", "MACAddress") or hint.address),
            model=_nic_model(item) or hint.model or NicModel.UNKNOWN,
            network=item.node.value("Connection"),
            connected=item.connected and item.node.value("Linked").lower() != "false",
            boot_order=boot.get(item),
        )
        for number, (item, hint) in enumerate(listed(zip(nic_items, hints, strict=True)))
    )


def _nic_model(item: Item) -> NicModel | None:
    return next((_NIC_MODELS[name] for name in item.subtypes if name in _NIC_MODELS), None)


def _normalized_mac(text: str) -> str | None:
    """`00:50:56:AA:BB:CC`, `00-50-…` or VirtualBox's 080027A1B2C3 as Kubernetes writes them."""
    digits = re.sub(r"[:.-]", "", text.lower())
    if not _MAC.fullmatch(digits):
        return None
    return ":".join(digits[index : index + 2] for index in range(0, 12, 2))


def _invalid(name: str, why: str) -> StepError:
    return StepError(Exit.INVALID, f"{name} cannot be imported", why, "correct it in the descriptor")
