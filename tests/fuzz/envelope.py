"""OVF envelopes as models: DSP0243 with any number, unit, reference or structure wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from xml.sax.saxutils import quoteattr

OVF1: Final = "http://schemas.dmtf.org/ovf/envelope/1"
OVF2: Final = "http://schemas.dmtf.org/ovf/envelope/2"
LARGEST: Final = 8 << 20
"""Bytes of all systems together: more than the parser's limit, less than this process's memory."""
UNITS: Final = (
    "byte * 2^20",
    "byte * 2^30",
    "MegaBytes",
    "byte",
    "byte * 10^6",
    "byte*2^10",
    "byte * 2^99999999",
    "byte * 2^-1",
    "byte * 2^20 * 2^20",
    "byte * 0^0",
    "hertz * 10^6",
    "",
    "2^20 * byte",
)
NUMBERS: Final = (
    "0",
    "-1",
    "1",
    "2",
    "4096",
    "1e3",
    "0x10",
    "1.5",
    "",
    " 7 ",
    "9" * 30,
    "9" * 5000,
    "٣",
    "NaN",
    "1_0",
)
NAMES: Final = (
    "../canary/secret",
    "/etc/hostname",
    "file:///etc/hostname",
    "http://127.0.0.1:9/x",
    "disk.vmdk",
    "",
    "a b",
    "%2e%2e/x",
    "disk.vmdk?x#y",
    "\u202e",
    "x" * 3000,
)
FORMATS: Final = (
    "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized",
    "http://www.vmware.com/interfaces/specifications/vmdk.html#sparse",
    "http://www.gnome.org/~markmc/qcow-image-format.html",
    "",
    "unknown",
)
DOCTYPES: Final = (
    '<!DOCTYPE e [<!ENTITY x "boom">]>',
    '<!DOCTYPE e [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
    '<!DOCTYPE e SYSTEM "../canary/secret">',
    '<!DOCTYPE e [<!ENTITY x SYSTEM "file:///etc/hostname">]>',
    '<!DOCTYPE e [<!ENTITY % p SYSTEM "../canary/secret"> %p;]>',
)
_RASD: Final = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
_VSSD: Final = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"


@dataclass
class Disk:
    """A disk and its file; sizes in bytes unless `units` is set."""

    id: str = "vmdisk1"
    file: str = "file1"
    href: str = "disk.vmdk"
    size: str = ""
    capacity: str = "1048576"
    units: str = ""
    format: str = FORMATS[0]
    attributes: str = ""  # of the file reference, in XML


@dataclass
class Item:
    """A device: RASD elements in their order."""

    fields: dict[str, str]


@dataclass
class Envelope:
    """One VM. `after`, `front`, `sections` are XML after its items, before the root, before it."""

    disks: list[Disk] = field(default_factory=lambda: [Disk()])
    items: list[Item] = field(default_factory=list)
    namespace: str = OVF1
    front: str = ""
    after: str = ""
    sections: str = ""
    root: str = "Envelope"
    copies: int = 1
    encoding: str = "utf-8"


def machine() -> Envelope:
    """A VM with two processors, memory, a controller with a disk, and a NIC."""
    items = [
        {"ElementName": "cpu", "InstanceID": "1", "ResourceType": "3", "VirtualQuantity": "2"},
        {
            "AllocationUnits": "byte * 2^20",
            "ElementName": "memory",
            "InstanceID": "2",
            "ResourceType": "4",
            "VirtualQuantity": "512",
        },
        {
            "Address": "0",
            "ElementName": "SCSI",
            "InstanceID": "3",
            "ResourceSubType": "lsilogic",
            "ResourceType": "6",
        },
        {
            "AddressOnParent": "0",
            "ElementName": "disk",
            "HostResource": "ovf:/disk/vmdisk1",
            "InstanceID": "4",
            "Parent": "3",
            "ResourceType": "17",
        },
        {
            "AddressOnParent": "7",
            "Connection": "net",
            "ElementName": "nic",
            "InstanceID": "5",
            "ResourceSubType": "VmxNet3",
            "ResourceType": "10",
        },
    ]
    return Envelope(items=[Item(fields) for fields in items])


def write(envelope: Envelope) -> bytes:
    system = f"""<VirtualSystem ovf:id="machine"><Info>one</Info><Name>machine</Name>
<OperatingSystemSection ovf:id="94" vmw:osType="ubuntu64Guest"><Info>os</Info></OperatingSystemSection>
<VirtualHardwareSection><Info>hardware</Info><System><vssd:ElementName>hardware</vssd:ElementName>
<vssd:InstanceID>0</vssd:InstanceID><vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType></System>
{"".join(map(_item, envelope.items))}{envelope.after}</VirtualHardwareSection></VirtualSystem>"""
    copies = min(envelope.copies, max(1, LARGEST // len(system)))
    many = system * copies
    if copies > 1:
        many = f'<VirtualSystemCollection ovf:id="all"><Info>all</Info>{many}</VirtualSystemCollection>'
    files = "".join(
        f"<File ovf:id={quoteattr(disk.file)} ovf:href={quoteattr(disk.href)}"
        f"{_attribute('size', disk.size)} {disk.attributes}/>"
        for disk in envelope.disks
    )
    disks = "".join(
        f"<Disk ovf:diskId={quoteattr(disk.id)} ovf:fileRef={quoteattr(disk.file)}"
        f" ovf:capacity={quoteattr(disk.capacity)} ovf:format={quoteattr(disk.format)}"
        f"{_attribute('capacityAllocationUnits', disk.units)}/>"
        for disk in envelope.disks
    )
    text = f"""<?xml version="1.0" encoding="{envelope.encoding}"?>{envelope.front}
<{envelope.root} xmlns="{envelope.namespace}" xmlns:ovf="{envelope.namespace}" xmlns:rasd="{_RASD}"
 xmlns:vssd="{_VSSD}" xmlns:vmw="http://www.vmware.com/schema/ovf"><References>{files}</References>
<DiskSection><Info>disks</Info>{disks}</DiskSection>
<NetworkSection><Info>networks</Info><Network ovf:name="net"/></NetworkSection>
{envelope.sections}{many}</{envelope.root}>"""
    return text.encode(errors="surrogateescape")


def _attribute(name: str, value: str) -> str:
    return f" ovf:{name}={quoteattr(value)}" if value else ""


def _item(item: Item) -> str:
    inner = "".join(f"<rasd:{name}>{text}</rasd:{name}>" for name, text in item.fields.items())
    return f"<Item>{inner}</Item>"


def _units(rng: random.Random, envelope: Envelope) -> None:
    if rng.random() < 0.5 and envelope.disks:
        rng.choice(envelope.disks).units = rng.choice(UNITS)
    elif envelope.items:
        rng.choice(envelope.items).fields["AllocationUnits"] = rng.choice(UNITS)


def _numbers(rng: random.Random, envelope: Envelope) -> None:
    if rng.random() < 0.4 and envelope.disks:
        disk = rng.choice(envelope.disks)
        disk.capacity, disk.size = rng.choice(
            ((rng.choice(NUMBERS), ""), (disk.capacity, rng.choice(NUMBERS)))
        )
    elif envelope.items:
        fields = rng.choice(envelope.items).fields
        fields[rng.choice([*fields, "Address", "Parent", "AddressOnParent"])] = rng.choice(NUMBERS)


def _references(rng: random.Random, envelope: Envelope) -> None:
    for disk in envelope.disks:
        setattr(
            disk,
            rng.choice(("id", "file", "href")),
            rng.choice((*NAMES, "vmdisk1", "file1")).replace("\x00", ""),
        )
    if envelope.items and rng.random() < 0.5:
        targets = (
            "ovf:/disk/vmdisk1",
            "ovf:/file/file1",
            "ovf:/disk/none",
            "/disk/vmdisk1",
            "ovf:/disk/",
            "file:///x",
        )
        rng.choice(envelope.items).fields["HostResource"] = rng.choice(targets)


def _devices(rng: random.Random, envelope: Envelope) -> None:
    """Lose or double a device or change its type; add many devices; make a controller its own parent."""
    if not envelope.items:
        return
    item = rng.choice(envelope.items)
    change = rng.randrange(5)
    if change == 0:
        envelope.items.remove(item)
    elif change == 1:
        envelope.items += [Item(dict(item.fields))] * rng.choice((1, 300))
    elif change == 2:
        item.fields["ResourceType"] = rng.choice([str(number) for number in range(36)])
    elif change == 3:
        item.fields["Parent"] = item.fields.get("InstanceID", "")
    else:
        item.fields.pop(rng.choice([*item.fields] or [""]), None)


def _files(rng: random.Random, envelope: Envelope) -> None:
    for disk in envelope.disks:
        disk.format = rng.choice(FORMATS)
        disk.attributes = rng.choice(
            ("", 'ovf:compression="gzip"', 'ovf:chunkSize="512"', 'ovf:chunkSize="0"', 'ovf:compression="xz"')
        )
    if rng.random() < 0.3:
        envelope.disks = rng.choice(
            ([], [*envelope.disks, Disk("vmdisk2", "file1")], [Disk(str(n), str(n)) for n in range(200)])
        )


def _document(rng: random.Random, envelope: Envelope) -> None:
    """Add what no envelope needs: document types, entities, depth, length, other encodings and namespaces."""
    change = rng.randrange(6)
    if change == 0:
        envelope.front = rng.choice(DOCTYPES)
        envelope.after = rng.choice(("", "&x;", "&b;&b;&b;"))
    elif change == 1:
        depth = rng.choice((10, 1000, 100000))
        envelope.after = "<a>" * depth + "</a>" * depth
    elif change == 2:
        envelope.after = "<!--" + "x" * rng.choice((10, 3 << 20)) + "-->"
    elif change == 3:
        envelope.encoding = rng.choice(("utf-16", "latin-1", "utf-7", "", "x" * 100))
    elif change == 4:
        envelope.namespace = rng.choice((OVF2, "urn:other", ""))
    else:
        envelope.copies = rng.choice((2, 50, 1001))


def _options(rng: random.Random, envelope: Envelope) -> None:
    """Deployment options, and a property instead of a capacity."""
    if rng.random() < 0.1:
        envelope.root = rng.choice(("Machine", "envelope"))
    option = rng.choice(("", ' ovf:default="true"', ' ovf:default="maybe"'))
    envelope.sections = rng.choice(
        (
            '<DeploymentOptionSection><Configuration ovf:id="small"/>'
            f'<Configuration ovf:id="big"{option}/></DeploymentOptionSection>',
            '<ProductSection><Property ovf:key="room"'
            f" ovf:value={quoteattr(rng.choice(NUMBERS))}/></ProductSection>",
        )
    )
    for disk in envelope.disks:
        disk.capacity = rng.choice((disk.capacity, "${room}", "${}", "${none}"))


CHANGES: Final[tuple[Callable[[random.Random, Envelope], None], ...]] = (
    _units,
    _numbers,
    _references,
    _devices,
    _files,
    _document,
    _options,
)
