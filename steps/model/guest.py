"""What is on the disks of a VM, and what follows from it: the document `guest.json`. Sizes are bytes.

No text of the guest's files is kept, because files of the network's configuration may hold passwords.
"""

from __future__ import annotations

import enum
from typing import Final, Literal

from pydantic import Field

from steps.model.document import Document
from steps.model.machine import Concern

GUEST: Final = "guest.json"


class Answer(enum.StrEnum):
    """What to do with the guest so that it boots at its target."""

    FITS = "fits"
    """It boots from virtio as it is."""
    CONVERT = "convert"
    """It boots from another bus as it is; a conversion gives it virtio."""
    LEAVE = "leave"
    """It can or must not be converted; `reason` is the code of the concern that says why."""


class Verdict(Document):
    """The judgement, with one sentence."""

    answer: Answer
    reason: str = ""
    text: str


class BusEvidence(Document):
    """A disk bus or a NIC model of KubeVirt that works without a change of the guest, and how one knows."""

    name: str
    why: str


class DiskFile(Document):
    """An inspected disk. `device` is its name in the other parts of the document."""

    device: str
    name: str
    format: str = ""
    size: int = 0


class Room(Document):
    """A file system of the system and its free space."""

    mount: str
    device: str
    size: int
    free: int
    free_inodes: int


class Kernel(Document):
    """An installed kernel, and the drivers that it has when it looks for its root file system."""

    version: str
    default: bool
    initramfs: str = ""
    drivers: tuple[str, ...] = ()
    """In the initramfs or in the kernel itself."""
    trouble: str = ""
    """Why its initramfs cannot be read."""


class NetworkAddress(Document):
    """A connection with a configuration in the guest."""

    stack: str
    """ifupdown, netplan, networkmanager, networkd, ifcfg, wicked or windows."""
    name: str
    kind: Literal["ethernet", "bond", "bridge", "vlan", "other"] = "ethernet"
    mac: str = ""
    addresses: tuple[str, ...] = ()
    """With the length of the prefix, if the file has one."""
    gateways: tuple[str, ...] = ()
    nameservers: tuple[str, ...] = ()
    """Only of Windows, where a conversion has to write them again."""
    dhcp: bool = False
    by_name: bool = True
    """Whether the configuration names the NIC. False: it fits any NIC."""
    members: tuple[str, ...] = ()
    """Names of the NICs below it: ports of a bond or a bridge, the NIC of a VLAN."""
    file: str = ""


class NamedNic(Document):
    """A rule of udev or of systemd in the guest that gives a NIC its name."""

    name: str
    mac: str


class GuestFirmware(Document):
    """How the disks can boot."""

    bios: bool = False
    efi: bool = False
    esp: str = ""
    fallback_loader: bool = False
    r"""Whether \EFI\BOOT has a loader, which firmware without boot entries starts."""
    loaders: tuple[str, ...] = ()


class GuestSystem(Document):
    """The system that was chosen."""

    os: str = ""
    """As in steps/model/guestos.py."""
    family: Literal["linux", "windows", "other"] = "other"
    product: str = ""
    release: str = ""
    arch: str = ""
    package_format: str = ""
    root: str
    boot_disk: str = ""
    boot_loaders: tuple[str, ...] = ()
    rooms: tuple[Room, ...] = ()
    kernels: tuple[Kernel, ...] = ()
    windows_drivers: tuple[str, ...] = ()
    """Drivers for virtio that Windows has, with how they start: `viostor (boot)`."""
    agents: tuple[str, ...] = ()
    network: tuple[NetworkAddress, ...] = ()
    named_nics: tuple[NamedNic, ...] = ()
    has_systemd: bool = False
    """Whether systemd starts it, and names its NICs (systemd.link(5))."""
    hibernated: bool = False
    lvm: bool = False
    raid: bool = False


class Locked(Document):
    """A device whose content cannot be read without a key."""

    device: str
    by: Literal["luks", "bitlocker"]


class Guest(Document):
    """The result of an inspection."""

    version: Literal["1"] = "1"
    tool: str = ""
    disks: tuple[DiskFile, ...] = ()
    system: GuestSystem | None = None
    """None if there is none, or if it is not clear which one counts."""
    roots: tuple[str, ...] = ()
    firmware: GuestFirmware = GuestFirmware()
    locked: tuple[Locked, ...] = ()
    unlocked: tuple[str, ...] = ()
    """Encrypted devices that a key of the import has opened."""
    verdict: Verdict
    disk_buses: tuple[BusEvidence, ...] = ()
    """Disk buses from which the guest boots as it is, the best one first; none if that is not known."""
    nic_models: tuple[BusEvidence, ...] = ()
    changes: tuple[str, ...] = ()
    """What a conversion would change."""
    concerns: tuple[Concern, ...] = ()
    trouble: tuple[str, ...] = Field(default=(), max_length=64)
    """Questions without an answer."""
