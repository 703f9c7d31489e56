"""Makes OVAs from raw disks as several products write them, for tests and the demo.

build_ova(Path("web.ova"), disks=[Path("root.raw")], flavour="vmware")
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

from tests.unit.steps.disk.streamvmdk import stream_vmdk

Flavour = Literal["vmware", "virtualbox", "qemu"]
Packer = Literal["ustar", "pax", "gnu", "tar"]
"""Python's tarfile in three formats, or GNU tar."""

_OVF = "http://schemas.dmtf.org/ovf/envelope/1"
_CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2"
_FORMATS = {
    "vmware": "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized",
    "virtualbox": "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized",
    "qemu": "http://www.gnome.org/~markmc/qcow-image-format.html",
}
_NIC_TYPES = {"vmware": "VmxNet3", "virtualbox": "E1000", "qemu": "virtio"}
MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The content of the descriptor."""

    name: str = "web"
    flavour: Flavour = "vmware"
    vcpus: int = 2
    memory_mib: int = 1024
    macs: Sequence[str] = ("00:50:56:aa:bb:01",)
    network: str = "VM Network"
    firmware: Literal["bios", "efi"] = "bios"
    compress: bool = False
    chunk: int = 0
    level: int = 1
    """How hard the VMDKs are compressed; 0 is best for random bytes."""


@dataclass
class Files:
    """The files of a package in their order."""

    contents: dict[str, bytes] = field(default_factory=dict)

    def pack(self, path: Path, packer: Packer) -> None:
        if packer == "tar":
            self._gnu_tar(path)
            return
        formats = {"ustar": tarfile.USTAR_FORMAT, "pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT}
        with tarfile.open(path, "w", format=formats[packer]) as tar:
            for name, content in self.contents.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))

    def _gnu_tar(self, path: Path) -> None:
        folder = path.with_name(path.name + ".files")
        folder.mkdir()
        self.write(folder)
        subprocess.run(["tar", "-cf", path, "-C", folder, "--", *self.contents], check=True)

    def write(self, folder: Path) -> None:
        for name, content in self.contents.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    def with_manifest(self, name: str, algorithm: str, *, last: bool) -> None:
        """Add the manifest: directly after the descriptor as ovftool does, or last as VirtualBox does."""
        lines = [
            f"{algorithm.upper()}({file})= {hashlib.new(algorithm, content).hexdigest()}\n"
            for file, content in self.contents.items()
        ]
        first, *others = self.contents.items()
        manifest = (name, "".join(lines).encode())
        self.contents = dict([first, *others, manifest] if last else [first, manifest, *others])


def build_ova(
    path: Path,
    disks: Sequence[Path],
    flavour: Flavour = "vmware",
    *,
    packer: Packer = "ustar",
    manifest: str | None = "sha256",
    tables_last: bool = True,
    **wanted: object,
) -> Path:
    """Write an OVA of raw disks; `wanted` are the fields of `Wanted`.

    qemu-img makes qcow2 images, and VMDKs whose tables come first. Other images need no program.
    """
    files = build_files(disks, flavour, manifest=manifest, tables_last=tables_last, **wanted)
    files.pack(path, packer)
    return path


def build_files(
    disks: Sequence[Path],
    flavour: Flavour = "vmware",
    *,
    manifest: str | None = "sha256",
    tables_last: bool = True,
    **wanted: object,
) -> Files:
    """The files of a package, the descriptor first."""
    how = Wanted(flavour=flavour, **wanted)  # type: ignore[arg-type] # the names are checked when it runs
    suffix = ".qcow2" if flavour == "qemu" else ".vmdk"
    images = {
        f"{how.name}-disk{number}{suffix}": image(disk, flavour, tables_last=tables_last, level=how.level)
        for number, disk in enumerate(disks, 1)
    }
    if how.compress:
        images = {f"{name}.gz": gzip.compress(content, 1) for name, content in images.items()}
    files = Files({f"{how.name}.ovf": descriptor(how, images, [disk.stat().st_size for disk in disks])})
    for name, content in images.items():
        files.contents |= dict(pieces(name, content, how.chunk))
    if manifest:
        files.with_manifest(f"{how.name}.mf", manifest, last=flavour == "virtualbox")
    return files


def pieces(name: str, content: bytes, size: int) -> list[tuple[str, bytes]]:
    if not size:
        return [(name, content)]
    starts = range(0, len(content), size)
    return [(f"{name}.{number:09d}", content[start : start + size]) for number, start in enumerate(starts)]


def image(disk: Path, flavour: Flavour, *, tables_last: bool, level: int = 1) -> bytes:
    """A disk in its product's format: a stream-optimized VMDK, or qcow2."""
    if tables_last and flavour != "qemu":
        return _streamed(disk.read_bytes(), level)
    options = ["qcow2"] if flavour == "qemu" else ["vmdk", "-o", "subformat=streamOptimized"]
    made = disk.with_suffix(f".{flavour}")
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", *options, disk, made], check=True)
    content = made.read_bytes()
    made.unlink()
    return content


@functools.lru_cache(maxsize=4)
def _streamed(disk: bytes, level: int) -> bytes:
    return bytes(stream_vmdk(disk, level=level).data)


def descriptor(how: Wanted, images: dict[str, bytes], capacities: Sequence[int]) -> bytes:
    """The envelope of one VM."""
    references, listed = [], []
    for number, ((name, content), capacity) in enumerate(zip(images.items(), capacities, strict=True), 1):
        more = ' ovf:compression="gzip"' if how.compress else ""
        more += f' ovf:chunkSize="{how.chunk}"' if how.chunk else ""
        references.append(
            f'<File ovf:href={quoteattr(name)} ovf:id="file{number}" ovf:size="{len(content)}"{more}/>'
        )
        listed.append(
            f'<Disk ovf:capacity="{capacity}" ovf:diskId="vmdisk{number}" ovf:fileRef="file{number}"'
            f' ovf:format="{_FORMATS[how.flavour]}"/>'
        )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="{_OVF}" xmlns:ovf="{_OVF}" xmlns:vmw="http://www.vmware.com/schema/ovf"
 xmlns:rasd="{_CIM}/CIM_ResourceAllocationSettingData" xmlns:vssd="{_CIM}/CIM_VirtualSystemSettingData"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:vbox="http://www.virtualbox.org/ovf/machine">
  <References>{"".join(references)}</References>
  <DiskSection><Info>Virtual disk information</Info>{"".join(listed)}</DiskSection>
  <NetworkSection><Info>Networks</Info><Network ovf:name={quoteattr(how.network)}/></NetworkSection>
  <VirtualSystem ovf:id={quoteattr(how.name)}>
    <Info>A virtual machine</Info>
    <Name>{escape(how.name)}</Name>
    {system_words(how)}
    <VirtualHardwareSection>
      <Info>Virtual hardware requirements</Info>
      {"".join(hardware(how, len(images)))}
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
""".encode()


def system_words(how: Wanted) -> str:
    """The operating system, and VirtualBox's own elements."""
    if how.flavour != "virtualbox":
        return (
            '<OperatingSystemSection ovf:id="96" vmw:osType="debian12_64Guest"><Info>The system</Info>'
            "<Description>Debian GNU/Linux 12 (64-bit)</Description></OperatingSystemSection>"
        )
    firmware = '<Firmware type="EFI"/>' if how.firmware == "efi" else ""
    return (
        '<OperatingSystemSection ovf:id="96"><Info>The system</Info><Description>Debian_64</Description>'
        '<vbox:OSType ovf:required="false">Debian12_64</vbox:OSType></OperatingSystemSection>'
        '<vbox:Machine ovf:required="false" version="1.19-linux" '
        'uuid="{3b4ab4a8-47a2-4a4f-9d5d-0c7e6b1e2f30}">'
        f'<Hardware>{firmware}<RTC localOrUTC="UTC"/></Hardware></vbox:Machine>'
    )


def hardware(how: Wanted, disks: int) -> list[str]:
    controller = {
        "vmware": (6, "VirtualSCSI"),
        "virtualbox": (20, "AHCI"),
        "qemu": (20, "virtio"),
    }[how.flavour]
    made = [
        item(1, 3, how.vcpus, units="hertz * 10^6"),
        item(2, 4, how.memory_mib, units="byte * 2^20"),
        item(3, controller[0], subtype=controller[1], more="<rasd:Address>0</rasd:Address>"),
    ]
    for number in range(disks):
        more = (
            f"<rasd:HostResource>ovf:/disk/vmdisk{number + 1}</rasd:HostResource><rasd:Parent>3</rasd:Parent>"
        )
        made.append(
            item(10 + number, 17, more=f"<rasd:AddressOnParent>{number}</rasd:AddressOnParent>{more}")
        )
    for number, mac in enumerate(how.macs):
        more = f"<rasd:Address>{mac}</rasd:Address><rasd:Connection>{escape(how.network)}</rasd:Connection>"
        made.append(item(40 + number, 10, subtype=_NIC_TYPES[how.flavour], more=more))
    if how.flavour != "virtualbox":
        made.append(f'<vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="{how.firmware}"/>')
    return made


def item(
    number: int, kind: int, quantity: int = 0, *, units: str = "", subtype: str = "", more: str = ""
) -> str:
    text = f"<rasd:AllocationUnits>{units}</rasd:AllocationUnits>" if units else ""
    text += (
        f"<rasd:ElementName>item {number}</rasd:ElementName><rasd:InstanceID>{number}</rasd:InstanceID>{more}"
    )
    text += f"<rasd:ResourceSubType>{subtype}</rasd:ResourceSubType>" if subtype else ""
    text += f"<rasd:ResourceType>{kind}</rasd:ResourceType>"
    text += f"<rasd:VirtualQuantity>{quantity}</rasd:VirtualQuantity>" if quantity else ""
    return f"<Item>{text}</Item>"
