"""The VM as its source describes it: the document that every provider writes and every target reads.

Nothing here is specific to a source or a target; their differences are data.
Sizes are bytes unless a name says otherwise.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from ipaddress import ip_address
from itertools import islice
from typing import Annotated, Final, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from steps.model import unique
from steps.model.document import Document
from steps.model.power import PowerMark

T = TypeVar("T")
MOST_DEVICES: Final = 256
"""Most disks, and most interfaces, of a VM (kubevirt.io/api v1.6, Devices, MaxItems)."""
_DISK_ID: Final = r"^disk-[0-9]{1,3}$"
DiskId = Annotated[str, Field(pattern=_DISK_ID)]
"""Short and stable (`disk-0`): it becomes part of node, claim and file names."""
MacAddress = Annotated[str, Field(pattern=r"^([0-9a-f]{2}:){5}[0-9a-f]{2}$")]

IpAddress = Annotated[str, AfterValidator(lambda text: str(ip_address(text)))]
"""An IPv4 or IPv6 address without the length of a prefix."""

Vlan = Annotated[int, Field(ge=1, le=4094)]
"""The ID of a VLAN (IEEE 802.1Q): 0 means none, and 4095 is reserved."""


class Controller(enum.StrEnum):
    """The disk's controller at the source."""

    PVSCSI = "pvscsi"
    LSILOGIC = "lsilogic"
    LSILOGIC_SAS = "lsilogic-sas"
    BUSLOGIC = "buslogic"
    SCSI = "scsi"
    SATA = "sata"
    IDE = "ide"
    NVME = "nvme"
    USB = "usb"
    VIRTIO = "virtio"
    UNKNOWN = "unknown"


class NicModel(enum.StrEnum):
    """The NIC model that the guest sees at the source."""

    VMXNET = "vmxnet"
    VMXNET2 = "vmxnet2"
    VMXNET3 = "vmxnet3"
    E1000 = "e1000"
    E1000E = "e1000e"
    PCNET32 = "pcnet32"
    RTL8139 = "rtl8139"
    NE2K_PCI = "ne2k_pci"
    VIRTIO = "virtio"
    SRIOV = "sriov"
    UNKNOWN = "unknown"


class Severity(enum.StrEnum):
    """The severity of a concern: logged, shown to the user, or blocking."""

    LOG = "log"
    WARN = "warn"
    BLOCK = "block"


class Power(enum.StrEnum):
    """The VM's power state at the source."""

    ON = "on"
    OFF = "off"
    SUSPENDED = "suspended"


class Concern(Document):
    """A property of the VM that an import changes, loses or cannot import."""

    severity: Severity
    code: str
    message: str
    remedy: str = ""
    disk: str = Field(default="", exclude_if=lambda value: not value)
    """The key of the only disk that it is about; empty: of none, or of several."""

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class Firmware(Document):
    """How the VM boots."""

    kind: Literal["bios", "efi"] = "bios"
    secure_boot: bool = False
    tpm: bool = False
    tpm_version: Literal["", "1.2", "2.0"] = ""


class Clock(Document):
    """What the hardware clock shows when the VM is switched on.

    `localtime` is the local time of a host whose time zone is unknown. A `timezone` (as in the TZ
    variable: Europe/Berlin) wins over both; `offset_seconds` counts from UTC.
    """

    base: Literal["utc", "localtime"] = "utc"
    offset_seconds: int = 0
    timezone: str = ""


class Disk(Document):
    """One disk to be imported. `key` is the source's own identifier of it, unique within the VM."""

    id: DiskId
    key: str
    label: str = ""
    capacity: Annotated[int, Field(gt=0)]
    """Bytes in whole sectors: what the guest sees. See `steps.model.sectors`."""
    controller: Controller = Controller.UNKNOWN
    controller_key: str = ""
    bus_number: int = 0
    unit: int = 0
    boot_order: Annotated[int, Field(ge=1)] | None = None
    uuid: str = ""
    serial: str = ""
    """As the guest reads it; "" if the guest sees none."""
    backing: str = ""
    allocated: int | None = None
    """Bytes in use according to the source; an estimate for progress and space, never trusted."""
    storage: str = ""
    storage_id: str = ""
    """Name and id of the datastore or storage domain that holds it; OpenStack: name of its volume type."""
    blank: bool = False
    """It has no content at the source: it is created empty, without a download."""


class Nic(Document):
    """One NIC."""

    id: str
    mac: MacAddress | None = None
    model: NicModel = NicModel.UNKNOWN
    network: str = ""
    """The network's name as users know it: for a distributed switch, the port group."""
    network_id: str = ""
    vlan: Vlan | None = Field(default=None, exclude_if=lambda value: value is None)
    """The VLAN that the network is bound to; None without one, or if the source does not show it."""
    label: str = ""
    """The device's label at the source: `Network adapter 1`."""
    plugged: bool = True
    """Whether the VM has the device at all, at a source where NICs can be unplugged."""
    connected: bool = True
    """Whether the NIC is connected when the VM is switched on."""
    boot_order: Annotated[int, Field(ge=1)] | None = None
    slot: int | None = Field(default=None, exclude_if=lambda value: value is None)
    """The number of its PCI slot, after which the guest may name it: 192 for `ens192`. None if not known."""
    addresses: tuple[IpAddress, ...] = Field(default=(), exclude_if=lambda value: not value)
    """The addresses that tools in the guest report of it."""


class Tag(Document):
    """A tag of the VM at its source: its category or key, and its name or value."""

    name: str
    value: str = "true"
    """The default is for tags without a category."""

    @property
    def has_category(self) -> bool:
        return self.value != "true"

    def __str__(self) -> str:
        return f"{self.name}:{self.value}" if self.has_category else self.name


class Machine(Document):
    """A VM as it is at its source."""

    version: Literal["1"] = "1"
    name: str
    source_id: str
    """The source's identifier: a managed-object id, a server id."""
    path: str = ""
    uuid: str = ""
    """The SMBIOS UUID, in the source's notation."""
    smbios_uuid: str = ""
    """The UUID as the guest reads it, if the source writes the bytes in another order."""
    instance_uuid: str = ""
    serial: str = ""
    """The SMBIOS system serial number, as the guest reads it."""
    vcpus: Annotated[int, Field(gt=0)]
    cores_per_socket: Annotated[int, Field(gt=0)] = 1
    threads_per_core: Annotated[int, Field(gt=0)] = 1
    memory_mib: Annotated[int, Field(gt=0)]
    firmware: Firmware = Firmware()
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    clock: Clock = Clock()
    os: str = ""
    """The guest's operating system as in steps/model/guestos.py; the next two fields are the source's own."""
    guest_id: str = ""
    guest_name: str = ""
    notes: str = ""
    storage_used: int | None = Field(default=None, exclude_if=lambda value: value is None)
    """Bytes that it uses at the source, if that does not say it of each disk; an estimate, never trusted."""
    power: Power = Power.OFF
    tools_running: bool = False
    change_version: str = ""
    """Changes with the VM's configuration; part of a disk's identity when an export resumes."""
    mark: PowerMark | None = None
    """When preflight described it: only a shutdown after that was the import's own."""
    concerns: tuple[Concern, ...] = ()
    tags: tuple[Tag, ...] = Field(default=(), exclude_if=lambda value: not value)
    """Those that an inventory shows, or that the import asks for."""
    host: str = Field(default="", exclude_if=lambda value: not value)
    """The host that runs the VM, as its source names it; only an inventory has it. "" if unknown."""
    absent_tag: str = Field(default="", exclude_if=lambda value: not value)
    """The tag of `spec.markSource`, if the VM did not have it before the import. An undo removes no other."""

    @model_validator(mode="after")
    def _check_identifiers(self) -> Self:
        """Refuse disks or NICs that share an identifier: a step could confuse them."""
        for what, found in (
            ("disks with the id", [disk.id for disk in self.disks]),
            ("disks with the key", [disk.key for disk in self.disks]),
            ("NICs with the id", [nic.id for nic in self.nics]),
        ):
            unique.index(range(len(found)), found.__getitem__, what=what, where=self.name).check()
        return self

    def disk(self, disk_id: str) -> Disk:
        """The disk with that id. Raises KeyError."""
        for disk in self.disks:
            if disk.id == disk_id:
                return disk
        raise KeyError(disk_id)


def listed(devices: Iterable[T]) -> tuple[T, ...]:
    """The disks or NICs that a source describes: one more than may be imported, so that too many are noticed.

    A source may name any number of them, and each costs requests, objects and a number in its id.
    """
    return tuple(islice(devices, MOST_DEVICES + 1))


def is_disk_id(value: object) -> bool:
    """Whether a value of unknown origin is the id of a disk."""
    return isinstance(value, str) and re.fullmatch(_DISK_ID, value) is not None
