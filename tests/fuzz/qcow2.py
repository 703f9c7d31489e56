"""qcow2 images as models (QEMU's docs/interop/qcow2.txt): every count and pointer is correct."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from tests.fuzz.mutate import Field

COPIED: Final = 1 << 63
DATA_FILE: Final = 0x44415441
BACKING_FORMAT: Final = 0xE2792ACA
_HEADER: Final = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_FIELDS: Final = (
    (4, ">I"),
    (8, ">Q"),
    (16, ">I"),
    (20, ">I"),
    (24, ">Q"),
    (32, ">I"),
    (36, ">I"),
    (40, ">Q"),
    (48, ">Q"),
    (56, ">I"),
    (60, ">I"),
    (64, ">Q"),
    (72, ">Q"),
    (80, ">Q"),
    (88, ">Q"),
    (96, ">I"),
    (100, ">I"),
)


@dataclass
class Image:
    """The content to write: `clusters` by number, sizes in bytes."""

    size: int
    bits: int = 16
    version: int = 3
    clusters: dict[int, bytes] = field(default_factory=dict)
    backing: bytes = b""
    extensions: list[tuple[int, bytes]] = field(default_factory=list)
    incompatible: int = 0
    crypt: int = 0


def write(image: Image) -> tuple[bytearray, list[Field]]:
    """The image's bytes and the positions of its numbers."""
    cluster = 1 << image.bits
    per_table, per_block = cluster // 8, cluster // 2
    data = bytearray(cluster)
    tables: dict[int, dict[int, int]] = {}
    for number, content in sorted(image.clusters.items()):
        tables.setdefault(number // per_table, {})[number % per_table] = len(data)
        data += content[:cluster].ljust(cluster, b"\0")
    fields = [Field(at, form) for at, form in _FIELDS]
    l1 = {}
    for table, entries in tables.items():
        l1[table] = len(data)
        fields += [Field(len(data) + 8 * slot, ">Q") for slot in [*entries][:8]]
        _numbers(
            data,
            ">Q",
            cluster,
            [entries[slot] | COPIED if slot in entries else 0 for slot in range(per_table)],
        )
    length = -(-image.size // (cluster * per_table))
    l1_at = len(data)
    fields += [Field(l1_at + 8 * index, ">Q") for index in range(min(4, length))]
    _numbers(data, ">Q", cluster, [l1[index] | COPIED if index in l1 else 0 for index in range(length)])
    counts = len(data)
    used, blocks = counts // cluster + 1, 1
    while used + blocks > blocks * per_block:
        blocks += 1
    fields += [Field(counts + 8 * index, ">Q") for index in range(min(4, blocks))]
    _numbers(data, ">Q", cluster, [counts + cluster * (1 + index) for index in range(blocks)])
    fields += [Field(len(data) + 2 * index, ">H") for index in range(min(8, used))]
    ones = [1] * (used + blocks) + [0] * (blocks * per_block - used - blocks)
    _numbers(data, ">H", cluster, ones)
    _header(data, image, l1=(length, l1_at), counts=counts)
    return data, fields


def _numbers(data: bytearray, form: str, cluster: int, values: list[int]) -> None:
    data += b"".join(struct.pack(form, value) for value in values)
    data += bytes(-len(data) % cluster)


def _header(data: bytearray, image: Image, l1: tuple[int, int], counts: int) -> None:
    """The header, its extensions and, after these, the backing file's name."""
    end = 104 if image.version > 2 else 72
    extensions = b"".join(
        struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)
        for kind, content in [*image.extensions, (0, b"")]
    )
    name = end + len(extensions) if image.backing else 0
    places = (name, len(image.backing), image.bits, image.size, image.crypt, *l1)
    raw = _HEADER.pack(b"QFI\xfb", image.version, *places, counts, 1, 0, 0, image.incompatible, 0, 0, 4, 104)
    head = raw[:end] + extensions + image.backing
    data[: len(head)] = head
