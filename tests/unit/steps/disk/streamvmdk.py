"""A small writer of stream-optimized VMDKs with their tables last, as vSphere sends them.

It writes grains in any order and of any size; `tests/real/disk/test_formats.py` proves with qemu-img that its
images are read as intended.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

SECTOR = 512
ENTRIES = 512
_LAST = (1 << 64) - 1


@dataclass
class StreamVmdk:
    """Writes into `data`; `records` are the offsets of the records."""

    capacity: int
    grain: int = 128
    level: int = 1
    data: bytearray = field(default_factory=bytearray)
    records: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._tables: dict[int, dict[int, int]] = {}
        self._places: dict[int, int] = {}
        text = (
            "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n"
            f'createType="streamOptimized"\nRW {self.capacity} SPARSE "disk.vmdk"\n'
            'ddb.adapterType = "lsilogic"\n'
        )
        self.data += self._header(_LAST)
        self.data += text.encode().ljust(20 * SECTOR, b"\0")
        self._pad_to(self.grain if self.grain > 21 else 24)

    def add(self, number: int, content: bytes) -> None:
        """Write grain `number`; `content` may be shorter at the end of the disk."""
        table = self._tables.setdefault(number // ENTRIES, {})
        table[number % ENTRIES] = self._sector()
        body = zlib.compress(content, self.level)
        self._record(struct.pack("<QI", number * self.grain, len(body)) + body)

    def flush(self, table: int) -> None:
        """Write a grain table, each one once, after all of its grains."""
        if table in self._tables:
            entries = self._tables.pop(table)
            self._marker(ENTRIES * 4 // SECTOR, 1)
            self._places[table] = self._sector()
            self.data += struct.pack("<512I", *(entries.get(index, 0) for index in range(ENTRIES)))

    def finish(self) -> bytearray:
        for table in sorted(self._tables):
            self.flush(table)
        count = -(-self.capacity // (self.grain * ENTRIES))
        self._marker(-(-count * 4 // SECTOR), 2)
        directory = self._sector()
        self.data += struct.pack(f"<{count}I", *(self._places.get(index, 0) for index in range(count)))
        self._pad()
        self._marker(1, 3)
        self.data += self._header(directory)
        self._marker(0, 0)
        return self.data

    def _header(self, directory: int) -> bytes:
        front = self.grain if self.grain > 21 else 24
        fields = (3, 0x30001, self.capacity, self.grain, 1, 20, ENTRIES, 0, directory, front)
        head = struct.pack("<4sIIQQQQIQQQ", b"KDMV", *fields)
        return (head + b"\0\n \r\n" + struct.pack("<H", 1)).ljust(SECTOR, b"\0")

    def _marker(self, sectors: int, kind: int) -> None:
        self._record(struct.pack("<QII", sectors, 0, kind))

    def _record(self, content: bytes) -> None:
        self.records.append(len(self.data))
        self.data += content
        self._pad()

    def _sector(self) -> int:
        return len(self.data) // SECTOR

    def _pad(self) -> None:
        self.data += bytes(-len(self.data) % SECTOR)

    def _pad_to(self, sector: int) -> None:
        self.data += bytes(sector * SECTOR - len(self.data))


def stream_vmdk(
    disk: bytes,
    *,
    grain: int = 128,
    order: Iterable[int] | None = None,
    zeros: bool = False,
    level: int = 1,
) -> StreamVmdk:
    """The VMDK of a raw disk; `order` lists the grains to write, `zeros` also writes the zero ones."""
    made = StreamVmdk(len(disk) // SECTOR, grain, level)
    size = grain * SECTOR
    for number in range(-(-len(disk) // size)) if order is None else order:
        content = disk[number * size : (number + 1) * size]
        if zeros or content.strip(b"\0"):
            made.add(number, content.ljust(size, b"\0"))
        if order is None and number % ENTRIES == ENTRIES - 1:
            made.flush(number // ENTRIES)
    made.finish()
    return made
