"""The items of a VirtualHardwareSection: CIM's resource allocation settings (DMTF DSP0243, 8.3; CIM 2.52)."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from steps.providers.ova.envelope import Envelope, System
from steps.providers.ova.markup import Node

_KINDS = ("Item", "StorageItem", "EthernetPortItem")
"""OVF 2.0 has the last two for disks and cards; what stands in them is called the same."""


class Kind(enum.IntEnum):
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
    STORAGE = 20
    SERIAL = 21
    PARALLEL = 22
    USB = 23


@dataclass(frozen=True, eq=False)
class Item:
    """One item. What is not there is "" or 0."""

    node: Node

    @cached_property
    def id(self) -> str:
        return self.node.value("InstanceID", "InstanceId")

    @property
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
        """Where it hangs on its controller."""
        return small(self.node.value("AddressOnParent"))

    @property
    def connected(self) -> bool:
        """Whether it is connected when the machine is switched on (DSP0243, table 3)."""
        return self.node.value("AutomaticAllocation").lower() != "false"

    def is_a(self, *kinds: Kind) -> bool:
        return self.kind in {str(int(kind)) for kind in kinds}


def items(envelope: Envelope, system: System) -> tuple[Item, ...]:
    """The items that hold for the default deployment option, in the descriptor's order.

    One with a configuration takes the place of one without that has the same id (DSP0243, 9.8); what only
    says how much there may be is none (`bound`, 8.4).
    """
    found: dict[object, Item] = {}
    for item in _all(system):
        configurations = item.node.get("configuration").split()
        if item.node.get("bound") or (configurations and envelope.configuration not in configurations):
            continue
        found[item.id or object()] = item
    return tuple(found.values())


def _all(system: System) -> Iterator[Item]:
    """Those without a configuration first: the others replace them."""
    every = [Item(node) for node in system.hardware.children if node.name in _KINDS]
    return iter(sorted(every, key=lambda item: bool(item.node.get("configuration"))))


def small(text: str) -> int:
    """A number of some digits; 0 for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0
