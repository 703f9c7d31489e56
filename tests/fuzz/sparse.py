"""Stream-optimized VMDKs as models: changed before they are written, so that every pointer fits the change.

Both layouts; grains of any size, in any order, missing, doubled, zero or written as zero; markers anywhere.
`write` also returns the positions of its numbers, so that one of them can be changed afterwards.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Final

from tests.fuzz.mutate import Field

SECTOR: Final = 512
LAST: Final = (1 << 64) - 1
TABLE, DIRECTORY, FOOTER, END = 1, 2, 3, 0
DESCRIPTOR: Final = (
    '# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="streamOptimized"\n'
    'RW {capacity} SPARSE "in.vmdk"\nddb.adapterType = "lsilogic"\n'
)
_HEADER: Final = struct.Struct("<4sIIQQQQIQQQB4sH")
_HEADER_FIELDS: Final = (
    (4, "<I"),
    (8, "<I"),
    (12, "<Q"),
    (20, "<Q"),
    (28, "<Q"),
    (36, "<Q"),
    (44, "<I"),
    (48, "<Q"),
    (56, "<Q"),
    (64, "<Q"),
    (72, "<B"),
    (77, "<H"),
)


@dataclass
class Grain:
    """A record: `body` is the compressed content, `size` the length that the record declares."""

    number: int
    body: bytes
    size: int | None = None
    declared: bool = True


@dataclass
class Marker:
    """A marker and what it announces; TABLE's `about` is the number of the grain table."""

    kind: int
    about: int = 0
    sectors: int | None = None


@dataclass
class Image:
    """The image to write. Sizes in sectors."""

    capacity: int
    grain: int
    entries: int
    tables_last: bool
    items: list[Grain | Marker]
    descriptor: bytes
    version: int = 3
    flags: int = 0x30001
    compression: int = 1
    zero_entries: frozenset[int] = frozenset()
    """Grains whose table entry is 1: zero, and not stored in the file."""
    padding: int = 0

    @property
    def tables(self) -> int:
        return max(1, -(-self.capacity // (self.grain * self.entries)))


@dataclass
class Written:
    """Bytes, and the positions of their numbers."""

    data: bytearray = field(default_factory=bytearray)
    fields: list[Field] = field(default_factory=list)

    @property
    def sector(self) -> int:
        return len(self.data) // SECTOR

    def pad(self) -> None:
        self.data += bytes(-len(self.data) % SECTOR)

    def pad_to(self, sector: int) -> None:
        self.data += bytes(max(0, sector * SECTOR - len(self.data)))

    def numbers(self, form: str, *values: int) -> None:
        """Write numbers of one form; a dozen of them, first those that are not 0, can be changed later."""
        size = struct.calcsize(form)
        at = len(self.data)
        self.data += b"".join(struct.pack(form, value % (1 << 8 * size)) for value in values)
        some = sorted(range(len(values)), key=lambda index: (not values[index], index))[:12]
        self.fields += [Field(at + size * index, form) for index in some]


def compress(content: bytes, level: int = 1) -> bytes:
    return zlib.compress(content, level)


def whole_tables(image: Image) -> list[Grain | Marker]:
    """The last items of the layout with tables last: each table, then directory, footer and end."""
    return [*(Marker(TABLE, index) for index in range(image.tables)), *map(Marker, (DIRECTORY, FOOTER, END))]


def write(image: Image) -> Written:
    return _last(image) if image.tables_last else _first(image)


def _header(image: Image, out: Written, descriptor: int, directory: int, redundant: int, front: int) -> None:
    start = len(out.data)
    numbers = (image.version, image.flags, image.capacity, image.grain, 1 if descriptor else 0, descriptor)
    places = (image.entries, redundant, directory, front)
    raw = _HEADER.pack(b"KDMV", *numbers, *places, 0, b"\n \r\n", image.compression)
    out.data += raw.ljust(SECTOR, b"\0")
    out.fields += [Field(start + at, form) for at, form in _HEADER_FIELDS]


def _sectors(size: int) -> int:
    return -(-size // SECTOR)


def _descriptor(image: Image, out: Written) -> None:
    out.data += image.descriptor
    out.pad()


def _last(image: Image) -> Written:
    out = Written()
    text = _sectors(len(image.descriptor))
    front = 1 + text + image.padding
    _header(image, out, text, LAST, 0, front)
    _descriptor(image, out)
    out.pad_to(front)
    entries: dict[int, int] = dict.fromkeys(image.zero_entries, 1)
    places: dict[int, int] = {}
    directory = 0
    for item in image.items:
        if isinstance(item, Grain):
            _grain(image, out, item, entries)
        else:
            _marker(image, out, item)
            if item.kind == TABLE:
                places[item.about] = out.sector
                _table(image, out, item.about, entries)
            elif item.kind == DIRECTORY:
                directory = out.sector
                out.numbers("<I", *(places.get(index, 0) for index in range(image.tables)))
                out.pad()
            elif item.kind == FOOTER:
                _header(image, out, text, directory, 0, front)
    return out


def _first(image: Image) -> Written:
    """As qemu-img writes: redundant directory and tables, directory and tables, then the grains."""
    text = _sectors(len(image.descriptor))
    directory, table = _sectors(image.tables * 4), _sectors(image.entries * 4)
    one = directory + image.tables * table
    redundant = 1 + text
    front = redundant + 2 * one + image.padding
    body = Written(bytearray(front * SECTOR))
    entries: dict[int, int] = dict.fromkeys(image.zero_entries, 1)
    for item in image.items:
        if isinstance(item, Grain):
            _grain(image, body, item, entries)
        else:
            _marker(image, body, item)
    out = Written()
    _header(image, out, text, redundant + one, redundant, front)
    _descriptor(image, out)
    for start in (redundant, redundant + one):
        out.numbers("<I", *(start + directory + index * table for index in range(image.tables)))
        out.pad()
        for index in range(image.tables):
            _table(image, out, index, entries)
    out.pad_to(front)
    out.data += body.data[len(out.data) :]
    out.fields += body.fields
    return out


def _grain(image: Image, out: Written, item: Grain, entries: dict[int, int]) -> None:
    if item.declared:
        entries[item.number] = out.sector
    out.numbers("<Q", item.number * image.grain)
    out.numbers("<I", len(item.body) if item.size is None else item.size)
    out.data += item.body
    out.pad()


def _marker(image: Image, out: Written, item: Marker) -> None:
    follows = {TABLE: image.entries * 4, DIRECTORY: image.tables * 4, FOOTER: SECTOR}.get(item.kind, 0)
    out.numbers("<Q", _sectors(follows) if item.sectors is None else item.sectors)
    out.numbers("<I", 0, item.kind)
    out.pad()


def _table(image: Image, out: Written, number: int, entries: dict[int, int]) -> None:
    first = number * image.entries
    out.numbers("<I", *(entries.get(first + index, 0) for index in range(image.entries)))
    out.pad()
