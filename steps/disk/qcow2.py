"""qcow2 written once from front to back (QEMU's docs/interop/qcow2.txt, version 3).

    │ header │ L2 of table 0 │ data … │ L2 of table 1 │ data … │ L1 │ refcount table │ refcount blocks │
      last     when left              when left                  at the end

Clusters are only ever appended, each is used once. A table's place is allocated when its first block comes,
its content is written when the next table begins: memory is one L2 table for any size of disk.
"""

from __future__ import annotations

import os
import struct
from typing import Final

from steps.disk.behind import Behind
from steps.disk.sink import CLUSTER, ZEROS, Block, Memory

ENTRIES: Final = CLUSTER // 8
"""Entries of an L2 table: one covers 512 MiB of the disk."""
COPIED: Final = 1 << 63
"""Set in L1 and L2 entries: the refcount is exactly 1, so the cluster may be written in place."""
_OFFSET: Final = (1 << 56) - (1 << 9)
_PAGE: Final = 512
"""Entries that are written together: 4 KiB, the smallest piece that goes past the page cache."""
_PER_BLOCK: Final = CLUSTER // 2
"""Clusters whose 16-bit refcounts one refcount block holds."""
_HEADER: Final = struct.Struct(">4sI QII Q II QQ II QQQQ II")
_HEADER_LENGTH: Final = 104


class Qcow2:
    """Writes a qcow2 image. See `sink.Sink`."""

    def __init__(self, behind: Behind, memory: Memory | None = None) -> None:
        self._behind = behind
        self._next = int(memory["next"]) if memory else CLUSTER
        self._l1 = {int(key): int(value) for key, value in memory["l1"]} if memory else {}
        if self._l1 and os.fstat(behind.file).st_size < self._next:
            raise ValueError("the file is shorter than it was")
        if not all(0 < place < self._next and not place % CLUSTER for place in self._l1.values()):
            raise ValueError("a table outside the file")
        self._table = -1
        self._l2 = [0] * ENTRIES
        self._unwritten: set[int] = set()
        """Pages of the table in memory that differ from the file's."""
        os.ftruncate(behind.file, self._next if memory else 0)
        if memory and memory["table"] >= 0:
            self._turn(memory["table"])
            self._forget_after(self._next)

    def write(self, offset: int, block: Block) -> None:
        table, slot = divmod(offset // CLUSTER, ENTRIES)
        if table != self._table:
            self._turn(table)
        place = self._l2[slot] & _OFFSET
        if not place:
            place = self._append()
            self._l2[slot] = place | COPIED
            self._unwritten.add(slot // _PAGE)
        self._behind.write(place, block if len(block) == CLUSTER else block.ljust(CLUSTER, b"\0"))

    def read(self, offset: int) -> bytes:
        table, slot = divmod(offset // CLUSTER, ENTRIES)
        if table != self._table:
            self._turn(table)
        place = self._l2[slot] & _OFFSET
        return self._load(place) if place else ZEROS

    def memory(self) -> Memory:
        self._store()
        return {"next": self._next, "l1": list(self._l1.items()), "table": self._table}

    def finish(self, size: int) -> None:
        """Append L1 and refcounts, then write the header: without it the file is not an image."""
        self._store()
        size += -size % 512  # QEMU counts in sectors
        length = -(-size // (CLUSTER * ENTRIES))
        l1 = self._append_all(_table([self._entry(table) for table in range(length)]))
        counts, counts_clusters = self._refcounts()
        header = _HEADER.pack(
            b"QFI\xfb",
            3,
            0,
            0,
            16,
            size,
            0,
            length,
            l1,
            counts,
            counts_clusters,
            0,
            0,
            0,
            0,
            0,
            4,
            _HEADER_LENGTH,
        )
        self._behind.write(0, header.ljust(CLUSTER, b"\0"))

    def _entry(self, table: int) -> int:
        place = self._l1.get(table, 0)
        return place and place | COPIED

    def _turn(self, table: int) -> None:
        """Make `table` the one in memory."""
        self._store()
        self._table = table
        if table in self._l1:  # only when blocks come out of order
            self._l2 = list(struct.unpack(f">{ENTRIES}Q", self._load(self._l1[table])))
        else:
            self._l1[table] = self._append()
            self._l2 = [0] * ENTRIES
            self._unwritten.update(range(ENTRIES // _PAGE))  # a hole would do, but no part of the file is one

    def _store(self) -> None:
        """Write the changed parts of the table in memory: notes and checkpoints come every few MiB."""
        for page in sorted(self._unwritten):
            first = page * _PAGE
            self._behind.write(self._l1[self._table] + first * 8, _table(self._l2[first : first + _PAGE]))
        self._unwritten.clear()

    def _load(self, place: int) -> bytes:
        self._behind.drain()
        return os.pread(self._behind.file, CLUSTER, place).ljust(CLUSTER, b"\0")

    def _forget_after(self, end: int) -> None:
        """Drop the entries after the checkpoint at which the file ended at `end`."""
        self._l2 = [entry if entry & _OFFSET < end else 0 for entry in self._l2]
        self._unwritten.update(range(ENTRIES // _PAGE))

    def _append(self, clusters: int = 1) -> int:
        place = self._next
        self._next += clusters * CLUSTER
        return place

    def _append_all(self, content: bytes) -> int:
        """Append as many clusters as `content` fills."""
        start = self._append(-(-len(content) // CLUSTER))
        for at in range(0, len(content), CLUSTER):
            self._behind.write(start + at, content[at : at + CLUSTER].ljust(CLUSTER, b"\0"))
        return start

    def _refcounts(self) -> tuple[int, int]:
        """Append the refcount table and its blocks; the table's place and its number of clusters."""
        used = self._next // CLUSTER
        blocks = tables = 0
        while used + blocks + tables > blocks * _PER_BLOCK or blocks > tables * ENTRIES:
            blocks = -(-(used + blocks + tables) // _PER_BLOCK)
            tables = -(-blocks // ENTRIES)
        first = self._next + tables * CLUSTER
        place = self._append_all(_table([first + index * CLUSTER for index in range(blocks)]))
        total = used + blocks + tables
        for index in range(blocks):
            ones = min(_PER_BLOCK, total - index * _PER_BLOCK)
            self._append_all((b"\0\1" * ones).ljust(CLUSTER, b"\0"))
        return place, tables


def largest(size: int) -> int:
    """Bytes of the image of a disk of `size` bytes without zeros: the most that can be needed."""
    data = -(-size // CLUSTER)
    tables = -(-data // ENTRIES)
    clusters = 1 + data + tables + -(-tables // ENTRIES)
    blocks = -(-(clusters + 2) // (_PER_BLOCK - 2))  # they count themselves, and the table of them, too
    return (clusters + blocks + -(-blocks // ENTRIES)) * CLUSTER


def _table(entries: list[int]) -> bytes:
    return struct.pack(f">{len(entries)}Q", *entries)
