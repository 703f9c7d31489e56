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
from steps.providers.ova.hardware import Card
from steps.providers.ova.items import Item, Kind, by_id
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
    config, box, bios = _config(system), _box(system), system.node.value("BiosType")
    named = _said(config, "firmware") or box.child("Firmware").get("type")
    efi = named.lower().startswith("efi") or bios in _OVIRT_EFI
    secure = any(_on(config, key) for key in ("bootoptions.efisecurebootenabled", "uefi.secureboot.enabled"))
    version = _tpm(config, box, items)
    return Firmware(
        kind="efi" if efi else "bios",
        secure_boot=secure or bios == _OVIRT_EFI[1],
        tpm=bool(version),
        tpm_version=version,
    )


def _tpm(config: Index[str, Node], box: Node, items: Sequence[Item]) -> Literal["", "1.2", "2.0"]:
    """VMware's TPM is an item, and always a TPM 2.0."""
    item = any("vmware.vtpm" in item.subtypes for item in items)
    if item or _on(config, "tpm.present") or _on(config, "tpm20.enabled"):
        return "2.0"
    return _TPM.get(box.child("TrustedPlatformModule").get("type").lower(), "")


def _on(config: Index[str, Node], key: str) -> bool:
    return _said(config, key).lower() in ("true", "1", "yes")


def _said(config: Index[str, Node], key: str) -> str:
    found = config.find(key)
    return found.get("value").strip() if found else ""


def _config(system: System) -> Index[str, Node]:
    """vmw:Config and vmw:ExtraConfig, by key in lower case; keys and values ignore case."""
    return unique.index(
        (node for node in system.hardware.children if node.name in ("Config", "ExtraConfig")),
        lambda node: node.get("key").strip().lower(),
        what="settings (vmw:Config or vmw:ExtraConfig) with the key",
        where=system.name or system.id,
        alike=lambda one, other: _value(one) == _value(other),
        remedy="leave one of them in the descriptor",
    )


def _value(node: Node) -> str:
    return node.get("value").strip().lower()


def _box(system: System) -> Node:
    """VirtualBox's own hardware element."""
    return system.node.child("Machine", "Hardware")


def uuid(system: System) -> str:
    """VirtualBox's UUID of the VM; oVirt uses it as the id of the operating system's section."""
    given = system.node.child("Machine").get("uuid").strip("{}").lower()
    given = given or system.node.child("OperatingSystemSection").get("id").lower()
    return given if _UUID.fullmatch(given) else ""


def clock(system: System) -> Clock:
    """VirtualBox's clock shows local time unless it says UTC (Settings.cpp, RTCUseUTC)."""
    if not system.node.child("Machine").name:
        return Clock()
    utc = _box(system).child("RTC").get("localOrUTC").upper() == "UTC"
    offset = _box(system).child("BIOS", "TimeOffset").get("value")
    milliseconds = int(offset) if re.fullmatch(r"-?\d{1,13}", offset) else 0
    return Clock(base="utc" if utc else "localtime", offset_seconds=int(milliseconds / 1000))


def cards(system: System) -> list[Card]:
    """Address and model of VirtualBox's NICs: the standard items of its files have neither."""
    adapters = _box(system).child("Network").all("Adapter")
    return [
        Card(adapter.get("MACAddress"), _ADAPTERS.get(adapter.get("type").lower()))
        for adapter in adapters
        if adapter.get("enabled").lower() == "true"
    ]


def boot(system: System, items: Sequence[Item]) -> list[Item]:
    """The items to boot from, with their order. Raises StepError: AMBIGUOUS, if several have the same id."""
    section = system.node.child("BootOrderSection")
    if section.name:
        there = by_id(items, system)
        return list(filter(None, map(there.find, dict.fromkeys(section.get("instanceId").split()))))
    return _numbered(items) or _box_order(system, items)


def _numbered(items: Sequence[Item]) -> list[Item]:
    """OVirt numbers the items; 0 means none."""
    found = [(item.node.value("BootOrder"), item) for item in items]
    numbered = [(int(order), item) for order, item in found if re.fullmatch(r"[1-9]\d{0,3}", order)]
    return [item for _, item in sorted(numbered, key=lambda pair: (pair[0], pair[1].id))]


def _box_order(system: System, items: Sequence[Item]) -> list[Item]:
    """VirtualBox lists kinds of devices: the first of each kind counts."""
    kinds = {"harddisk": Kind.DISK, "network": Kind.ETHERNET}
    orders = sorted(_box(system).child("Boot").all("Order"), key=lambda order: order.get("position"))
    wanted = [kinds[name] for order in orders if (name := order.get("device").lower()) in kinds]
    firsts = (next((item for item in items if item.is_a(kind)), None) for kind in dict.fromkeys(wanted))
    return list(filter(None, firsts))
