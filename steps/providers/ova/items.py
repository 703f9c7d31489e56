"""The items of a VirtualHardwareSection: CIM's resource allocation settings (DMTF DSP0243, 8.3; CIM 2.52)."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from steps.model import unique
from steps.model.contract import Exit, StepError
from steps.model.unique import Index
from steps.providers.ova.envelope import Envelope, System
from steps.providers.ova.markup import Node

_ITEM_ELEMENTS = ("Item", "StorageItem", "EthernetPortItem")
"""OVF 2.0 has the last two for disks and cards; what stands in them is called the same."""
ELEMENTS: Final = frozenset(
    (
        *("Address", "AddressOnParent", "AllocationUnits", "AutomaticAllocation", "AutomaticDeallocation"),
        *("Bandwidth", "Caption", "ChangeableType", "ComponentSetting", "ConfigurationName", "Connection"),
        *("ConsumerVisibility", "Description", "ElementName", "Generation", "HostExtentName"),
        *("HostExtentNameFormat", "HostExtentNameNamespace", "HostExtentStartingAddress", "HostResource"),
        *("HostResourceBlockSize", "InstanceID", "InstanceId", "Limit", "MappingBehavior"),
        *("OtherHostExtentNameFormat", "OtherHostExtentNameNamespace", "OtherResourceType", "Parent"),
        *("PoolID", "Reservation", "ResourceSubType", "ResourceType", "SoID", "SoOrgID", "VirtualQuantity"),
        *("VirtualQuantityUnits", "VirtualResourceBlockSize", "Weight", "Access", "AllowedPriorities"),
        *("DefaultPortVID", "DefaultPriority", "DesiredVLANEndpointMode", "GroupID", "ManagerID"),
        *("NetworkPortProfileID", "NetworkPortProfileIDType", "OtherEndpointMode", "OtherManagementAddress"),
        *(
            "PortCorrelationID",
            "PortVID",
            "Promiscuous",
            "ReceiveBandwidthLimit",
            "ReceiveBandwidthReservation",
        ),
        *("SourceMACFilteringEnabled", "VSITypeID", "VSITypeIDVersion", "AllowedToReceiveMACAddresses"),
        *("AllowedToReceiveVLANs", "AllowedToTransmitMACAddresses", "AllowedToTransmitVLANs"),
        *("Config", "ExtraConfig", "CoresPerSocket", "cpu_per_socket", "num_of_sockets", "threads_per_cpu"),
    )
)
"""The elements of an item: CIM 2.52, of storage and ports too, and those of makers that are read here."""
_RANGE_BOUNDS = ("min", "max")
"""Values of `bound` that only say how much there may be; `normal` is a device as any other (8.4)."""


class ResourceType(enum.IntEnum):
    """CIM_ResourceAllocationSettingData.ResourceType."""

    OTHER = 1
    PROCESSOR = 3
    MEMORY = 4
    IDE = 5
    SCSI = 6
    ETHERNET = 10
    FLOPPY = 14
    CD = 15
    DVD = 16
    DISK = 17
    STORAGE_EXTENT = 19
    STORAGE = 20
    SERIAL = 21
    PARALLEL = 22
    USB = 23
    LOGICAL_DISK = 31
    STORAGE_VOLUME = 32


_DISK_KINDS = (
    ResourceType.DISK,
    ResourceType.STORAGE_EXTENT,
    ResourceType.LOGICAL_DISK,
    ResourceType.STORAGE_VOLUME,
)
"""XenServer and XCP-ng write the second one for each disk."""


@dataclass(frozen=True, eq=False)
class Item:
    """One item. A missing value is "" or 0."""

    node: Node

    @cached_property
    def id(self) -> str:
        return self.node.value("InstanceID", "InstanceId")

    @cached_property
    def kind(self) -> str:
        return self.node.value("ResourceType")

    @cached_property
    def subtypes(self) -> tuple[str, ...]:
        """In lower case; several are alternatives, the best one first."""
        return tuple(self.node.value("ResourceSubType").lower().replace(",", " ").split())

    @property
    def label(self) -> str:
        return self.node.value("ElementName", "Caption", "Description")

    @property
    def parent(self) -> str:
        return self.node.value("Parent")

    @property
    def unit(self) -> int:
        """Its slot on the controller."""
        return parse_int(self.node.value("AddressOnParent"))

    @property
    def connected(self) -> bool:
        """Whether it is connected when the VM is switched on (DSP0243, table 3)."""
        return self.node.value("AutomaticAllocation").lower() != "false"

    @cached_property
    def is_disk(self) -> bool:
        """Whether it is a hard disk. A storage device of another kind is one if it refers to a disk or file.

        Writers use OTHER STORAGE for controllers too, which refer to nothing.
        """
        has_content = any(node.text.strip() for node in self.node.find_all("HostResource"))
        if self.is_a(ResourceType.DISK):
            return True
        return has_content and self.is_a(*_DISK_KINDS, ResourceType.STORAGE)

    def is_a(self, *kinds: ResourceType) -> bool:
        return self.kind in {str(int(kind)) for kind in kinds}


def items(envelope: Envelope, system: System) -> tuple[Item, ...]:
    """The items of the default deployment option, in the descriptor's order.

    One with a configuration takes the place of one without that has the same id (DSP0243, 9.8); what only
    says how much there may be is none (`_RANGE_BOUNDS`). Otherwise an id is one device's; items of several
    kinds that share one are kept, as it is clear what each is.

    Raises:
        StepError: AMBIGUOUS, for devices of one kind with one id.
    """
    plain, chosen = _items_in_effect(envelope, system)
    replacing = index_by_id(chosen, system)
    replaced = index_by_id([item for item in plain if item.id in replacing], system)
    for item in replaced:
        _check_replaced(item, replacing.find(item.id), system)
    replaced.check()
    kept_items = [replacing.find(item.id) or item for item in plain]
    in_effect = (*kept_items, *(item for item in chosen if item.id not in replaced))
    _check_duplicates(in_effect, system)
    return in_effect


def index_by_id(hardware_items: Iterable[Item], system: System) -> Index[str, Item]:
    """Items by their InstanceID."""
    where = system.name or system.id
    return unique.index(hardware_items, lambda item: item.id, what="items with the InstanceID", where=where)


def _items_in_effect(envelope: Envelope, system: System) -> tuple[list[Item], list[Item]]:
    """Those without a configuration, and those of the chosen one."""
    plain, chosen = [], []
    for node in system.hardware.children:
        if node.name not in _ITEM_ELEMENTS or node.get("bound").lower() in _RANGE_BOUNDS:
            continue
        configurations = node.get("configuration").split()
        if not configurations:
            plain.append(Item(node))
        elif envelope.configuration in configurations:
            chosen.append(Item(node))
    return plain, chosen


def _check_replaced(item: Item, other: Item | None, system: System) -> None:
    """A configuration changes the size of a device, but not its kind."""
    if other is not None and other.kind != item.kind:
        raise StepError(
            Exit.AMBIGUOUS,
            f"{system.name or system.id} has two devices of different kinds with the InstanceID {item.id!r}",
            f"{item.label or item.kind} and {other.label or other.kind}, one of them of a configuration",
            "give each its own InstanceID in the descriptor",
        )


def _check_duplicates(hardware_items: Sequence[Item], system: System) -> None:
    """Devices of one kind with one id are refused: it is not clear whether they are one or two."""
    by_kind: dict[str, list[Item]] = {}
    for item in hardware_items:
        by_kind.setdefault(item.kind, []).append(item)
    for items_of_kind in by_kind.values():
        index_by_id(items_of_kind, system).check()


def boot_positions(boot: Iterable[Item]) -> dict[Item, int]:
    """The position, from 1, of each item to boot from."""
    return {item: number for number, item in enumerate(boot, 1)}


def parse_int(text: str) -> int:
    """A number of some digits; 0 for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0
