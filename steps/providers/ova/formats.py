"""The format of a disk's file by its descriptor."""

from __future__ import annotations

import struct
import zlib
from typing import Final, Literal

from steps.disk.vmdk import MAGIC, SECTOR, Header
from steps.model.contract import StepError
from steps.providers.ova.envelope import VirtualDisk

DiskFileFormat = Literal["vmdk", "qcow2", "raw", "vpc", "vhdx"]

_URIS: Final[tuple[tuple[str, DiskFileFormat], ...]] = (
    ("vmdk", "vmdk"),
    ("qcow", "qcow2"),
    ("bb676673", "vpc"),
    ("linkid=137171", "vpc"),
    ("vhdx", "vhdx"),
    ("vhd", "vpc"),
    ("wikipedia.org/wiki/byte", "raw"),
)
"""By a part of the URI: VMware's, oVirt's, Microsoft's specification and its short link, virt-v2v's."""
_OVIRT_FORMATS: Final[dict[str, DiskFileFormat]] = {"RAW": "raw", "COW": "qcow2"}
_SUFFIXES: Final[dict[str, DiskFileFormat]] = {
    "vmdk": "vmdk",
    "qcow2": "qcow2",
    "img": "raw",
    "raw": "raw",
    "vhd": "vpc",
    "vhdx": "vhdx",
}
HEAD_BYTES: Final = 512
"""First bytes that contain a disk's size."""
PACKED_HEAD_BYTES: Final = 1 << 16
"""Bytes of a compressed file that are inflated to read its beginning."""
_MAX_INFLATED: Final = 1 << 20
_GZIP: Final = 31
"""zlib's window bits for gzip (zlib.h, inflateInit2)."""


def declared_format(disk: VirtualDisk) -> DiskFileFormat | None:
    """The format; None if the descriptor does not have it. The file's content is never used."""
    if disk.volume_format:
        return _OVIRT_FORMATS.get(disk.volume_format)
    uri = disk.format.lower()
    for part, file_format in _URIS:
        if part in uri:
            return file_format
    if uri or disk.file is None:
        return None
    return format_by_name(disk.file.name.removesuffix(".gz") if disk.file.compression else disk.file.name)


def format_by_name(name: str) -> DiskFileFormat | None:
    """The format by a file's name."""
    return _SUFFIXES.get(name.lower().rpartition(".")[2])


def inflate_head(packed: bytes) -> bytes:
    """The content of the first bytes of a gzip file; empty if it is not gzip."""
    try:
        return zlib.decompressobj(_GZIP).decompress(packed, _MAX_INFLATED)
    except zlib.error:
        return b""


def capacity(head: bytes, file_format: DiskFileFormat) -> int:
    """Bytes of the disk that begins with `head`; 0 if it is not there, or impossible."""
    if file_format == "vmdk" and len(head) >= SECTOR and head.startswith(MAGIC):
        try:
            return Header.parse(head).size
        except StepError:
            return 0
    if file_format == "qcow2" and head.startswith(b"QFI\xfb") and len(head) >= 32:
        size: int = struct.unpack_from(">Q", head, 24)[0]
        return size
    return 0
