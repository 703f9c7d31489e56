"""A VM's virtual hardware: disks and NICs in vmferry's vocabulary.

pyvmomi's classes of devices have the hierarchy of the API reference: here subclasses precede their bases.
"""

from __future__ import annotations

import contextlib
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import islice
from typing import Any, Final

from pyVmomi import vim

from steps.model import unique
from steps.model.contract import StepError
from steps.model.machine import Controller, Disk, Nic, NicModel, listed
from steps.model.unique import Index
from steps.providers.vmware.networks import Attachment, Networks, attachment

_d: Any = vim.vm.device

_CONTROLLERS: Final[tuple[tuple[type[Any], Controller], ...]] = (
    (_d.ParaVirtualSCSIController, Controller.PVSCSI),
    (_d.VirtualLsiLogicSASController, Controller.LSILOGIC_SAS),
    (_d.VirtualLsiLogicController, Controller.LSILOGIC),
    (_d.VirtualBusLogicController, Controller.BUSLOGIC),
    (_d.VirtualSCSIController, Controller.SCSI),
    (_d.VirtualSATAController, Controller.SATA),  # VirtualAHCIController is its only subclass
    (_d.VirtualIDEController, Controller.IDE),
    (_d.VirtualNVMEController, Controller.NVME),
    (_d.VirtualUSBXHCIController, Controller.USB),
    (_d.VirtualUSBController, Controller.USB),
)
_NIC_MODELS: Final[tuple[tuple[type[Any], NicModel], ...]] = (
    (_d.VirtualVmxnet3, NicModel.VMXNET3),  # with VirtualVmxnet3Vrdma: the guest sees a vmxnet3
    (_d.VirtualVmxnet2, NicModel.VMXNET2),
    (_d.VirtualVmxnet, NicModel.VMXNET),
    (_d.VirtualE1000e, NicModel.E1000E),
    (_d.VirtualE1000, NicModel.E1000),
    (_d.VirtualPCNet32, NicModel.PCNET32),
    (_d.VirtualSriovEthernetCard, NicModel.SRIOV),
)
_MOST_ADDRESSES: Final = 32
_MAC: Final = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")


@dataclass(frozen=True)
class Slot:
    """The slot of a disk as an export lease names it: controller class, bus number, unit."""

    controller: str
    bus: int
    unit: int

    def __str__(self) -> str:
        return f"{self.controller}{self.bus}:{self.unit}"

    @classmethod
    def parse(cls, key: str) -> Slot | None:
        """From a device URL's key, such as `/vm-64/ParaVirtualSCSIController0:0`; None for anything else."""
        match = re.search(r"(?:^|/)([A-Za-z]+)(\d+):(\d+)$", key)
        return cls(match[1], int(match[2]), int(match[3])) if match else None


class Hardware:
    """The devices of `config.hardware.device`."""

    def __init__(self, devices: Sequence[Any]) -> None:
        self._by_key: Index[int, Any] = unique.index(
            devices,
            lambda device: device.key,
            what="devices with the key",
            where="the VM",
            alike=operator.is_,
        )
        self.devices = list(self._by_key)

    def conflict(self) -> str:
        """What is wrong where two devices have one key, or two disks one slot; else ""."""
        try:
            self._by_key.check()
            self._by_slot().check()
        except StepError as error:
            return f"{error.what}: {error.why}"
        return ""

    def of_type(self, *kinds: Any) -> list[Any]:
        return [device for device in self.devices if isinstance(device, kinds)]

    def virtual_disks(self) -> list[Any]:
        """The disks in the source's order: by their controller's key, then by their unit on it."""
        return sorted(
            self.of_type(_d.VirtualDisk),
            key=lambda disk: (disk.controllerKey or 0, disk.unitNumber or 0, disk.key),
        )

    def ethernet_cards(self) -> list[Any]:
        """The NICs, by device key."""
        return sorted(self.of_type(_d.VirtualEthernetCard), key=lambda card: card.key)

    def controller(self, device: Any) -> Any | None:
        """A device's controller; None if it is not listed. Raises StepError: AMBIGUOUS."""
        return self._by_key.find(device.controllerKey)

    def slot(self, key: str) -> Slot | None:
        """Where the disk of that device key sits now; None when there is no such disk.

        Raises:
            StepError: AMBIGUOUS, when another disk has that key or sits there too.
        """
        disks = unique.index(
            self.of_type(_d.VirtualDisk),
            lambda disk: str(disk.key),
            what="disks with the key",
            where="the VM",
        )
        disk = disks.find(key)
        slot = self._slot(disk) if disk is not None else None
        if slot is not None:
            self._by_slot().find(slot)
        return slot

    def _slot(self, disk: Any) -> Slot | None:
        controller = self.controller(disk)
        if controller is None:
            return None
        return Slot(type(controller)._wsdlName, controller.busNumber, disk.unitNumber or 0)

    def _by_slot(self) -> Index[Slot | None, Any]:
        """The disks by their slots: by these an export tells the URLs of a lease apart."""
        return unique.index(
            self.of_type(_d.VirtualDisk),
            self._slot,
            what="disks at",
            where="the VM",
            alike=operator.is_,
        )


def capacity(disk: Any) -> int:
    """A disk's size in bytes; 0 if the source does not report it. Before API 5.5 there are only KiB."""
    return int(disk.capacityInBytes or (disk.capacityInKB or 0) * 1024)


def disks(hardware: Hardware, order: Mapping[int, int], allocated: Mapping[int, int]) -> tuple[Disk, ...]:
    """The disks that can be imported; `order` and `allocated` (bytes) are by device key."""
    readable = listed(disk for disk in hardware.virtual_disks() if capacity(disk) > 0)
    return tuple(
        _disk(disk, f"disk-{number}", hardware, order.get(disk.key), allocated.get(disk.key))
        for number, disk in enumerate(readable)
    )


def _disk(disk: Any, disk_id: str, hardware: Hardware, boot_order: int | None, allocated: int | None) -> Disk:
    controller = hardware.controller(disk)
    backing = disk.backing
    return Disk(
        id=disk_id,
        key=str(disk.key),
        label=label(disk),
        capacity=capacity(disk),
        controller=_type_of(controller, _CONTROLLERS, Controller.UNKNOWN),
        controller_key=str(disk.controllerKey or ""),
        bus_number=controller.busNumber if controller is not None else 0,
        unit=disk.unitNumber or 0,
        boot_order=boot_order,
        uuid=getattr(backing, "uuid", None) or "",
        backing=getattr(backing, "fileName", None) or "",
        allocated=min(allocated, capacity(disk)) if allocated else None,
        storage=_datastore_name(backing),
        storage_id=_datastore_id(backing),
    )


def _datastore_name(backing: Any) -> str:
    """The text in brackets of a file's path: `[datastore1] web/web.vmdk` (Datastore, "Datastore path")."""
    found = re.match(r"\[([^\]]*)\]", getattr(backing, "fileName", None) or "")
    return found[1] if found else ""


def _datastore_id(backing: Any) -> str:
    datastore = getattr(backing, "datastore", None)
    return str(datastore._moId) if datastore is not None else ""


def nics(
    hardware: Hardware, order: Mapping[int, int], networks: Networks, reported: Iterable[Any] = ()
) -> tuple[Nic, ...]:
    """The NICs; `order` is by device key, `reported` is GuestInfo.net of VMware Tools."""
    reported = tuple(reported)
    return tuple(
        _nic(card, f"nic-{number}", order.get(card.key), attachment(card, networks), reported)
        for number, card in enumerate(listed(hardware.ethernet_cards()))
    )


def _nic(card: Any, nic_id: str, boot_order: int | None, network: Attachment, reported: Iterable[Any]) -> Nic:
    mac = (card.macAddress or "").lower()
    return Nic(
        id=nic_id,
        mac=mac if _MAC.fullmatch(mac) else None,
        model=_type_of(card, _NIC_MODELS, NicModel.UNKNOWN),
        network=network.name,
        network_id=network.id,
        vlan=network.vlan,
        label=label(card),
        connected=_connected(card),
        boot_order=boot_order,
        slot=getattr(getattr(card, "slotInfo", None), "pciSlotNumber", None),
        addresses=_addresses(mac, reported),
    )


def _addresses(mac: str, reported: Iterable[Any]) -> tuple[str, ...]:
    """What VMware Tools say of the NIC (GuestInfo.net), without link-local addresses: all NICs have one."""
    found: dict[str, None] = {}
    for one in listed(reported):
        if mac and (getattr(one, "macAddress", None) or "").lower() == mac:
            for text in islice(getattr(one, "ipAddress", None) or (), _MOST_ADDRESSES):
                with contextlib.suppress(ValueError):
                    address = ip_address(text)
                    found |= {} if address.is_link_local else {str(address): None}
    return tuple(found)


def _connected(card: Any) -> bool:
    """Whether the NIC is connected, or will be when the VM starts (VirtualDevice.ConnectInfo)."""
    info = card.connectable
    return info is None or bool(info.startConnected or info.connected)


def label(device: Any) -> str:
    """The label of a device in vSphere: `Hard disk 1`."""
    return (device.deviceInfo.label if device.deviceInfo else "") or f"device {device.key}"


def _type_of(device: Any, table: Sequence[tuple[type[Any], Any]], unknown: Any) -> Any:
    return next((kind for cls, kind in table if isinstance(device, cls)), unknown)


def boot_order(options: Any) -> dict[int, int]:
    """Positions from 1 by device key, of the disks and NICs in BootOptions.bootOrder; others do not count."""
    listed = options.bootOrder if options is not None else ()
    keys = [device.deviceKey for device in listed if hasattr(device, "deviceKey")]
    return {key: number for number, key in enumerate(keys, start=1)}


def allocated_bytes(layout: Any) -> dict[int, int]:
    """Bytes in use by device key (VirtualMachineFileLayoutEx): an estimate for progress and space.

    Descriptors are not counted: if only those are known, the use of the disk is unknown.
    """
    if layout is None:
        return {}
    sizes = {file.key: file.size for file in layout.file if file.type == "diskExtent"}
    return {
        disk.key: sum(sizes.get(key, 0) for part in disk.chain for key in part.fileKey)
        for disk in layout.disk
    }
