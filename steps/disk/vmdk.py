"""The structures of a sparse VMDK: header, descriptor, markers (VMware, "Virtual Disk Format 5.0").

All numbers are little endian; places and sizes are sectors of 512 bytes.

    tables first (qemu-img)   header descriptor RGD RGTs GD GTs pad │ grain grain … grain │
    tables last (vSphere)     header descriptor pad │ grain … GT-marker GT grain … GT │ GD-marker GD
                              FOOTER-marker footer EOS-marker
"""

from __future__ import annotations

import enum
import re
import struct
from dataclasses import dataclass
from typing import Final, Self

from steps.disk.faults import corruption_fault
from steps.model.contract import Exit, StepError

SECTOR: Final = 512
MAGIC: Final = b"KDMV"
RECORD: Final = struct.Struct("<QI")
"""The start of every record: a grain's first sector and its compressed size in bytes; a size of 0
makes it a marker, whose first number is the size in sectors of what follows it."""
MARKER_TYPE: Final = struct.Struct("<I")

_HEADER: Final = struct.Struct("<4sII QQ QQ I QQQ B4s H")
_COMPRESSED: Final = 1 << 16
_MARKERS: Final = 1 << 17
_DEFLATE: Final = 1
_DIRECTORY_LAST: Final = (1 << 64) - 1
_LARGEST: Final = 64 << 40
"""Bytes. vSphere's largest disk is 62 TiB (Broadcom, Configuration Maximums); more is a damaged header."""
_GRAINS: Final = frozenset(8 << power for power in range(11))
"""Sectors of a grain: a power of two above 4 KiB by the specification; no writer exceeds 4 MiB."""
_TABLE_ENTRIES: Final = 512
"""Most entries of a grain table: the specification's only number, and QEMU's limit."""
_DESCRIPTOR_SECTORS: Final = 2048
_TABLES: Final = 1 << 21
"""64 TiB in tables of 32 MiB, or 4 TiB of 4-KiB grains: more would be held in memory for no disk."""


class Marker(enum.IntEnum):
    """The kinds of data that a marker announces."""

    END_OF_STREAM = 0
    GRAIN_TABLE = 1
    GRAIN_DIRECTORY = 2
    FOOTER = 3


@dataclass(frozen=True)
class Header:
    """SparseExtentHeader. All but `entries` in sectors."""

    flags: int
    capacity: int
    grain: int
    descriptor: int
    descriptor_size: int
    entries: int
    directory: int
    overhead: int
    compression: int

    @classmethod
    def parse(cls, raw: bytes | memoryview) -> Self:
        """Read 512 bytes.

        Raises:
            StepError: CORRUPT, if a value is impossible, or there are fewer bytes.
        """
        if len(raw) < _HEADER.size:
            raise corruption_fault("the source is not a sparse VMDK", f"it has {len(raw)} bytes")
        (
            magic,
            _,
            flags,
            capacity,
            grain,
            descriptor,
            descriptor_size,
            entries,
            _,
            directory,
            overhead,
            _,
            _,
            compression,
        ) = _HEADER.unpack_from(raw)
        if magic != MAGIC:
            raise corruption_fault("the source is not a sparse VMDK", f"it does not begin with {MAGIC!r}")
        header = cls(
            flags, capacity, grain, descriptor, descriptor_size, entries, directory, overhead, compression
        )
        header.check()
        return header

    def check(self) -> None:
        """Refuse sizes that would need unbounded time or memory."""
        if not 0 < self.capacity <= _LARGEST // SECTOR:
            raise corruption_fault("the VMDK's header is damaged", f"its capacity is {self.capacity} sectors")
        if self.grain not in _GRAINS:
            raise corruption_fault("the VMDK's header is damaged", f"its grain size is {self.grain} sectors")
        if not 0 < self.entries <= _TABLE_ENTRIES:
            raise corruption_fault(
                "the VMDK's header is damaged", f"a grain table has {self.entries} entries"
            )
        if self.tables > _TABLES:
            raise corruption_fault("the VMDK's header is damaged", f"it has {self.tables} grain tables")
        if self.descriptor_size > _DESCRIPTOR_SECTORS:
            raise corruption_fault(
                "the VMDK's header is damaged", f"its descriptor has {self.descriptor_size} sectors"
            )
        if self.descriptor and not 0 < self.descriptor <= 1 + self.descriptor_area - self.descriptor_size:
            raise corruption_fault(
                "the VMDK's header is damaged", f"its descriptor is at sector {self.descriptor}"
            )
        if self.compressed and self.compression != _DEFLATE:
            raise corruption_fault("the VMDK's header is damaged", f"its compression is {self.compression}")

    @property
    def size(self) -> int:
        """Bytes of the disk."""
        return self.capacity * SECTOR

    @property
    def descriptor_area(self) -> int:
        """Sectors after the header in which a descriptor may stand.

        All of them count: whatever the header contains, QEMU looks for a parent's name right behind it.
        """
        front = self.overhead if self.directory_last else self.directory
        return max(0, min(front - 1, _DESCRIPTOR_SECTORS))

    @property
    def layout(self) -> tuple[int, ...]:
        """The fields that decide where a grain belongs and how it is read."""
        return self.capacity, self.grain, self.entries, self.compressed, self.compression

    @property
    def compressed(self) -> bool:
        return bool(self.flags & _COMPRESSED)

    @property
    def streamable(self) -> bool:
        """Whether it can be decoded while it arrives."""
        return self.compressed and bool(self.flags & _MARKERS)

    @property
    def directory_last(self) -> bool:
        return self.directory == _DIRECTORY_LAST

    @property
    def tables(self) -> int:
        """Number of grain tables."""
        return -(-self.capacity // (self.grain * self.entries))


_EXTENT = re.compile(rb"(?m)^[ \t]*(?:RW|RDONLY|NOACCESS)\s+\d+\s+(\w+)")
_PARENT = re.compile(rb"(?mi)^[ \t]*parentCID\s*=\s*\"?(?:0x)?([0-9a-f]+)")


def check_descriptor(text: bytes) -> None:
    """Refuse a disk if a part of its content is in other files.

    Raises:
        StepError: UNSUPPORTED.
    """
    text = text.replace(b"\r", b"\n")
    parents = {parent.lower() for parent in _PARENT.findall(text)}
    if b"parentfilenamehint" in text.lower() or parents - {b"ffffffff"}:
        raise _incomplete_vmdk(
            "it holds only the difference to a parent disk", "consolidate the machine's snapshots"
        )
    extents = _EXTENT.findall(text)
    if len(extents) > 1 or any(kind != b"SPARSE" for kind in extents):
        raise _incomplete_vmdk(
            "its descriptor refers to other files", "export it as one stream-optimized VMDK"
        )


def _incomplete_vmdk(why: str, remedy: str) -> StepError:
    return StepError(Exit.UNSUPPORTED, "the VMDK is not a whole disk", why, remedy)
