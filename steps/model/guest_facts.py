"""What was read from the disks of a VM, before anybody judges it: the output of `steps.guest.collect`.

Every text is the guest's, so every list and text is bounded here once more: a program that has read hostile
file systems wrote this document. Sizes are bytes.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from steps.model.document import Document

MOST: Final = 1024
Text = Annotated[str, Field(max_length=2048)]
LongText = Annotated[str, Field(max_length=256 << 10)]
Texts = Annotated[tuple[Text, ...], Field(max_length=MOST)]
Count = Annotated[int, Field(ge=0, le=1 << 31)]
Size = Annotated[int, Field(ge=-(1 << 64), le=1 << 128)]
"""Bytes or inodes. A file system may claim any number of blocks of any size; -1 is unknown in libguestfs."""


class FileSystem(Document):
    """A disk without partitions, a partition or a logical volume, and what is on it (blkid's word)."""

    device: Text
    kind: Text = ""
    size: Size = 0
    dirty: bool = False
    """NTFS that is marked dirty."""


class Partition(Document):
    """A row of a partition table."""

    device: Text
    disk: Text
    table: Text
    type: Text = ""
    """A GUID in a GPT, two hexadecimal digits in an MBR."""
    bootable: bool = False
    size: Size = 0


class Esp(Document):
    """An EFI system partition with its boot loaders, as paths below EFI."""

    device: Text
    loaders: Texts = ()


class Mount(Document):
    """A file system of a system, where it belongs, and its room."""

    mount: Text
    device: Text
    size: Size = 0
    free: Size = 0
    inodes: Size = 0
    free_inodes: Size = 0
    mounted: bool = True


class KernelFacts(Document):
    """An installed kernel and where it has drivers."""

    version: Text
    default: bool = False
    initramfs: Text = ""
    initramfs_size: Size = 0
    initramfs_trouble: Text = ""
    in_initramfs: Texts = ()
    built_in: Texts = ()
    installed: Texts = ()


class NetworkFile(Document):
    """A file of the network's configuration."""

    stack: Text
    file: Text
    text: LongText


class LinuxFacts(Document):
    """What the files of a Linux say."""

    menu: Text = ""
    """The boot loader's menu that names the default kernel."""
    kernels: Annotated[tuple[KernelFacts, ...], Field(max_length=64)] = ()
    other_kernels: Texts = ()
    agents: Texts = ()
    network: Annotated[tuple[NetworkFile, ...], Field(max_length=128)] = ()
    loaders: Texts = ()
    disk_names: Texts = ()
    """Names of devices, such as /dev/sda1, without which it does not start."""
    has_systemd: bool = False


class WindowsDriver(Document):
    """A service of a driver; `start` is 0 for a driver that the boot loader loads, 4 for a disabled one."""

    name: Text
    start: Size | None = None
    file: bool = False


class WindowsInterface(Document):
    """A NIC in the registry, which knows no MAC address."""

    name: Text
    dhcp: bool = False
    addresses: Texts = ()
    masks: Texts = ()
    gateways: Texts = ()
    nameservers: Texts = ()


class WindowsFacts(Document):
    """What the registry and the files of a Windows say."""

    hibernated: bool = False
    fast_startup: bool = False
    agents: Texts = ()
    boot_manager: bool = False
    drivers: Annotated[tuple[WindowsDriver, ...], Field(max_length=64)] = ()
    prepared: Texts = ()
    """Drivers that a conversion has copied, for its next start."""
    network: Annotated[tuple[WindowsInterface, ...], Field(max_length=128)] = ()


class SystemFacts(Document):
    """One installed system, in libguestfs' words."""

    root: Text
    type: Text = ""
    distro: Text = ""
    product: Text = ""
    variant: Text = ""
    major: Size = 0
    minor: Size = 0
    arch: Text = ""
    osinfo: Text = ""
    package_format: Text = ""
    build: Text = ""
    mounts: Annotated[tuple[Mount, ...], Field(max_length=128)] = ()
    linux: LinuxFacts | None = None
    windows: WindowsFacts | None = None


class Facts(Document):
    """Everything that was read from the disks of one VM."""

    version: Literal["1"] = "1"
    libguestfs: Text = ""
    devices: Texts = ()
    """The disks in their order, as libguestfs names them."""
    file_systems: Annotated[tuple[FileSystem, ...], Field(max_length=MOST)] = ()
    partitions: Annotated[tuple[Partition, ...], Field(max_length=4096)] = ()
    boot_code: Texts = ()
    """Disks whose first sector has GRUB."""
    esps: Annotated[tuple[Esp, ...], Field(max_length=64)] = ()
    incomplete_groups: Texts = ()
    raid: Texts = ()
    unlocked: Texts = ()
    """Encrypted devices that a key has opened."""
    refused: Texts = ()
    """Encrypted devices that their key does not open."""
    systems: Annotated[tuple[SystemFacts, ...], Field(max_length=16)] = ()
    roots: Count = 0
    """How many systems there are; `systems` has the first ones."""
    trouble: Texts = ()
