"""Vendor extensions of the standard: firmware, TPM, clock, UUID, boot order.

VMware's vmw:Config (govmomi ovf/configspec.go), VirtualBox's vbox:Machine (VirtualBox Settings.cpp), and what
oVirt writes into the system itself (OvfWriter.java).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

from steps.model import unique
from steps.model.machine import Clock, Firmware, NicModel
from steps.model.unique import Index
from steps.providers.ova.envelope import System
from steps.providers.ova.hardware import VendorNic
from steps.providers.ova.items import Item, ResourceType, index_by_id
from steps.providers.ova.markup import Node

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OVIRT_EFI: Final = ("3", "4")
"""BiosType: Q35 with OVMF, and the same with secure boot."""
_ADAPTERS: Final = {
    "am79c970a": NicModel.PCNET32,
    "am79c973": NicModel.PCNET32,
    "82540em": NicModel.E1000,
    "82543gc": NicModel.E1000,
    "82545em": NicModel.E1000,
    "virtio": NicModel.VIRTIO,
}
"""VirtualBox's names of NICs (Settings.cpp, readNetworkAdapters)."""
_TPM: Final[dict[str, Literal["1.2", "2.0"]]] = {"v1_2": "1.2", "v2_0": "2.0"}


def firmware(system: System, items: Sequence[Item]) -> Firmware:
    """The firmware, from any vendor's extension.

    Raises:
        StepError: AMBIGUOUS, if vmw:Config or vmw:ExtraConfig has two values for a relevant key.
    """
    settings, virtualbox, bios = (
        _vmware_settings(system),
        _virtualbox_hardware(system),
        system.node.value("BiosType"),
    )
    firmware_type = _setting(settings, "firmware") or virtualbox.child("Firmware").get("type")
    efi = firmware_type.lower().startswith("efi") or bios in _OVIRT_EFI
    secure = any(
        _is_on(settings, key) for key in ("bootoptions.efisecurebootenabled", "uefi.secureboot.enabled")
    )
    version = _tpm(settings, virtualbox, items)
    return Firmware(
        kind="efi" if efi else "bios",
        secure_boot=secure or bios == _OVIRT_EFI[1],
        tpm=bool(version),
        tpm_version=version,
    )


def _tpm(settings: Index[str, Node], virtualbox: Node, items: Sequence[Item]) -> Literal["", "1.2", "2.0"]:
    """VMware's TPM is an item, and always a TPM 2.0."""
    item = any("vmware.vtpm" in item.subtypes for item in items)
    if item or _is_on(settings, "tpm.present") or _is_on(settings, "tpm20.enabled"):
        return "2.0"
    return _TPM.get(virtualbox.child("TrustedPlatformModule").get("type").lower(), "")


def _is_on(settings: Index[str, Node], key: str) -> bool:
    return _setting(settings, key).lower() in ("true", "1", "yes")


def _setting(settings: Index[str, Node], key: str) -> str:
    node = settings.find(key)
    return node.get("value").strip() if node else ""


def _vmware_settings(system: System) -> Index[str, Node]:
    """vmw:Config and vmw:ExtraConfig, by key in lower case; keys and values ignore case."""
    return unique.index(
        (node for node in system.hardware.children if node.name in ("Config", "ExtraConfig")),
        lambda node: node.get("key").strip().lower(),
        what="settings (vmw:Config or vmw:ExtraConfig) with the key",
        where=system.name or system.id,
        alike=lambda first, second: _normalized_value(first) == _normalized_value(second),
        remedy="leave one of them in the descriptor",
    )


def _normalized_value(node: Node) -> str:
    return node.get("value").strip().lower()


def _virtualbox_hardware(system: System) -> Node:
    """VirtualBox's own hardware element."""
    return system.node.child("Machine", "Hardware")


def uuid(system: System) -> str:
    """VirtualBox's UUID of the VM; oVirt uses it as the id of the operating system's section."""
    text = system.node.child("Machine").get("uuid").strip("{}").lower()
    text = text or system.node.child("OperatingSystemSection").get("id").lower()
    return text if _UUID.fullmatch(text) else ""


def clock(system: System) -> Clock:
    """VirtualBox's clock shows local time unless it says UTC (Settings.cpp, RTCUseUTC)."""
    if not system.node.child("Machine").name:
        return Clock()
    utc = _virtualbox_hardware(system).child("RTC").get("localOrUTC").upper() == "UTC"
    offset = _virtualbox_hardware(system).child("BIOS", "TimeOffset").get("value")
    milliseconds = int(offset) if re.fullmatch(r"-?\d{1,13}", offset) else 0
    return Clock(base="utc" if utc else "localtime", offset_seconds=int(milliseconds / 1000))


def nics(system: System) -> list[VendorNic]:
    """Address and model of VirtualBox's NICs: the standard items of its files have neither."""
    adapters = _virtualbox_hardware(system).child("Network").find_all("Adapter")
    return [
        VendorNic(adapter.get("MACAddress"), _ADAPTERS.get(adapter.get("type").lower()))
        for adapter in adapters
        if adapter.get("enabled").lower() == "true"
    ]


def boot_order(system: System, items: Sequence[Item]) -> list[Item]:
    """The items to boot from, with their order. Raises StepError: AMBIGUOUS, if several have the same id."""
    section = system.node.child("BootOrderSection")
    if section.name:
        items_by_id = index_by_id(items, system)
        return list(filter(None, map(items_by_id.find, dict.fromkeys(section.get("instanceId").split()))))
    return _ovirt_boot_order(items) or _virtualbox_boot_order(system, items)


def _ovirt_boot_order(items: Sequence[Item]) -> list[Item]:
    """OVirt numbers the items; 0 means none."""
    orders = [(item.node.value("BootOrder"), item) for item in items]
    numbered = [(int(order), item) for order, item in orders if re.fullmatch(r"[1-9]\d{0,3}", order)]
    return [item for _, item in sorted(numbered, key=lambda pair: (pair[0], pair[1].id))]


def _virtualbox_boot_order(system: System, items: Sequence[Item]) -> list[Item]:
    """VirtualBox lists kinds of devices: the first of each kind counts."""
    kinds = {"harddisk": ResourceType.DISK, "network": ResourceType.ETHERNET}
    orders = sorted(
        _virtualbox_hardware(system).child("Boot").find_all("Order"), key=lambda order: order.get("position")
    )
    kinds_in_order = [kinds[name] for order in orders if (name := order.get("device").lower()) in kinds]
    firsts = (
        next((item for item in items if item.is_a(kind)), None) for kind in dict.fromkeys(kinds_in_order)
    )
    return list(filter(None, firsts))
