"""The format of a disk's file by its descriptor."""

from __future__ import annotations

import zlib
from typing import Final

from steps.model.bare_disks import DiskFileFormat, format_by_name
from steps.providers.ova.envelope import VirtualDisk

__all__ = [
    "COMPRESSIONS",
    "PACKED_HEAD_BYTES",
    "DiskFileFormat",
    "compression_of",
    "declared_format",
    "format_by_name",
    "inflate_head",
    "without_compression",
]

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
_COMPRESSION_MAGICS: Final = (
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"PK\3\4", "zip"),
)
COMPRESSIONS: Final = {"gzip": "gz", "xz": "xz", "zstd": "zst", "bzip2": "bz2", "zip": "zip"}
"""The endings of names of compressed files."""
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
    return format_by_name(without_compression(disk.file.name))


def without_compression(name: str) -> str:
    """A file's name without the ending of a compression."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and suffix.lower() in COMPRESSIONS.values() else name


def compression_of(head: bytes) -> str:
    """The compression of a file that begins with `head`: `gzip`, `xz` and so on; "" for none."""
    return next((name for magic, name in _COMPRESSION_MAGICS if head.startswith(magic)), "")


def inflate_head(packed: bytes) -> bytes:
    """The content of the first bytes of a gzip file; empty if it is not gzip."""
    try:
        return zlib.decompressobj(_GZIP).decompress(packed, _MAX_INFLATED)
    except zlib.error:
        return b""
