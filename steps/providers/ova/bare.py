"""Bare disks as a package: files that somebody lists, without a descriptor.

The descriptor and, if there are checksums, the manifest are written here. So everything else is as for any
other package: formats, sizes, gzip, digests, Range, redirects.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Final
from xml.sax.saxutils import quoteattr

from steps.disk.source import Source
from steps.model.contract import Exit, StepError
from steps.model.plan import BareDisk, SourcePlan
from steps.providers import Access
from steps.providers.ova import source_file
from steps.providers.ova.address import Address
from steps.providers.ova.files import identified_source, is_web_page, missing_file
from steps.providers.ova.reader import FileReader
from steps.providers.ova.source_file import HttpSettings, SourceFile

DESCRIPTOR: Final = "disks.ovf"
MANIFEST: Final = "disks.mf"
_SUFFIXES: Final = {"raw": ".img", "qcow2": ".qcow2", "vmdk": ".vmdk", "vpc": ".vhd", "vhdx": ".vhdx"}
"""Endings by which a descriptor without formats is read (`steps.providers.ova.formats`)."""
DEFAULT_NETWORK: Final = "default"
"""The network of the only NIC, if the source names none."""


class BarePackage:
    """The listed files, by names such as `disk-0.qcow2`. See `package.Package`."""

    def __init__(self, access: Access) -> None:
        plan = access.plan
        self._access = access
        self._plan = plan
        self._disks = {file_name(number, disk): disk for number, disk in enumerate(plan.disks)}
        self._files: dict[str, SourceFile] = {}
        others = f" and {len(plan.disks) - 1} more" if len(plan.disks) > 1 else ""
        self.display_url = f"{Address.parse(plan.endpoint)}{others}"
        self.supports_range = True

    @property
    def version(self) -> str:
        return " | ".join(self._file(name).version for name in self._disks)

    def descriptor(self) -> tuple[str, bytes]:
        """It has the sizes of the files: so this proves that each of them can be read."""
        sizes = {name: self._file(name).size for name in self._disks}
        return DESCRIPTOR, descriptor_text(self._plan, sizes).encode()

    def names(self, *, full_scan: bool) -> list[str]:
        del full_scan
        return [DESCRIPTOR, *([MANIFEST] if self._has_checksums else []), *self._disks]

    def has(self, name: str) -> bool:
        return name in self.names(full_scan=False)

    def size(self, name: str) -> int | None:
        return self._file(name).size if name in self._disks else None

    def read(self, name: str, limit: int, *, full_scan: bool = True) -> bytes | None:
        del limit, full_scan
        if name == MANIFEST and self._has_checksums:
            return self._manifest().encode()
        return None

    def peek(self, name: str, count: int, offset: int = 0) -> bytes:
        if name not in self._disks:
            return b""
        file = self._file(name)
        if offset + count <= len(file.head) or not file.supports_range:
            return file.head[offset : offset + count]
        with contextlib.closing(FileReader(file, self._access.stop)) as reader:
            return reader.read(offset, count)

    def source(self, name: str) -> Source:
        if name not in self._disks:
            raise missing_file(name, self.display_url)
        file = self._file(name)
        is_local = Address.parse(self._disks[name].url).path is not None
        return identified_source(file, 0, file.size if is_local else None, name)

    @property
    def _has_checksums(self) -> bool:
        return any(disk.checksum for disk in self._disks.values())

    def _manifest(self) -> str:
        """The given checksums, and that of the descriptor."""
        lines = {name: disk.checksum for name, disk in self._disks.items() if disk.checksum}
        lines[DESCRIPTOR] = f"sha256:{hashlib.sha256(self.descriptor()[1]).hexdigest()}"
        return "".join(
            f"{algorithm.upper()}({name})= {digest}\n"
            for name, checksum in lines.items()
            for algorithm, _, digest in [checksum.partition(":")]
        )

    def _file(self, name: str) -> SourceFile:
        """A listed file. Raises StepError: NOT_FOUND and the other errors of a server."""
        if name not in self._files:
            address = Address.parse(self._disks[name].url)
            file = source_file.locate(address, self._settings(address))
            if is_web_page(file.head):
                raise StepError(
                    Exit.NOT_FOUND,
                    f"{address} is not a disk",
                    "the server answers with a web page",
                    "correct the URL, or give the Secret of the source a login",
                )
            self._files[name] = file
        return self._files[name]

    def _settings(self, address: Address) -> HttpSettings:
        """Those of one disk. The login is only for the origin of the first one."""
        settings = HttpSettings.read(self._plan, self._access.credentials, address, self._access.stop)
        return replace(settings, source_url=Address.parse(self._plan.endpoint).url)


def file_name(number: int, disk: BareDisk) -> str:
    """The name of a disk's file in the package."""
    return f"disk-{number}{_SUFFIXES[disk.format]}{'.gz' if disk.is_gzip else ''}"


def descriptor_text(plan: SourcePlan, sizes: dict[str, int | None]) -> str:
    """An OVF descriptor with the listed disks, and with a NIC for each network; without CPU and memory."""
    return "".join(
        (
            '<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1">',
            f"<References>{''.join(_files(sizes))}</References>",
            f"<DiskSection>{''.join(_disks(plan, list(sizes)))}</DiskSection>",
            f"<VirtualSystem id={quoteattr(plan.name)}><VirtualHardwareSection>",
            *_items(plan, len(sizes)),
            f'<Config key="firmware" value="{plan.firmware}"/>',
            "</VirtualHardwareSection></VirtualSystem></Envelope>",
        )
    )


def _files(sizes: dict[str, int | None]) -> Iterator[str]:
    for number, (name, size) in enumerate(sizes.items()):
        shown = "" if size is None else f' size="{size}"'
        yield f'<File id="file-{number}" href="{name}"{shown}/>'


def _disks(plan: SourcePlan, names: list[str]) -> Iterator[str]:
    for number, disk in enumerate(plan.disks[: len(names)]):
        yield f'<Disk diskId="disk-{number}" fileRef="file-{number}" capacity="{disk.capacity or 0}"/>'


def _items(plan: SourcePlan, disks: int) -> Iterator[str]:
    for number in range(disks):
        yield (
            f"<Item><ElementName>disk-{number}</ElementName><InstanceID>disk-{number}</InstanceID>"
            f"<ResourceType>17</ResourceType><HostResource>ovf:/disk/disk-{number}</HostResource></Item>"
        )
    for number, network in enumerate(plan.bare_networks or (DEFAULT_NETWORK,)):
        connection = quoteattr(network)[1:-1]
        yield (
            f"<Item><ElementName>nic-{number}</ElementName><InstanceID>nic-{number}</InstanceID>"
            f"<ResourceType>10</ResourceType><Connection>{connection}</Connection></Item>"
        )
