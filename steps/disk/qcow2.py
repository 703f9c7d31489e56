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

from steps.disk.sink import CLUSTER, ZEROS, Block, CheckpointState
from steps.disk.writer import BackgroundWriter

ENTRIES: Final = CLUSTER // 8
"""Entries of an L2 table: one covers 512 MiB of the disk."""
COPIED: Final = 1 << 63
"""Set in L1 and L2 entries: the refcount is exactly 1, so the cluster may be written in place."""
_OFFSET: Final = (1 << 56) - (1 << 9)
_PAGE: Final = 512
"""Entries that are written together: 4 KiB, the smallest piece that goes past the page cache."""
PER_BLOCK: Final = CLUSTER // 2
"""Clusters whose 16-bit refcounts one refcount block holds."""
_HEADER: Final = struct.Struct(">4sI QII Q II QQ II QQQQ II")
_HEADER_LENGTH: Final = 104


class Qcow2Sink:
    """Writes a qcow2 image. See `sink.Sink`."""

    def __init__(self, writer: BackgroundWriter, saved: CheckpointState | None = None) -> None:
        self._writer = writer
        self._end = int(saved["next"]) if saved else CLUSTER
        self._l1_offsets = {int(key): int(value) for key, value in saved["l1"]} if saved else {}
        if self._l1_offsets and os.fstat(writer.file).st_size < self._end:
            raise ValueError("the file is shorter than it was")
        if not all(0 < offset < self._end and not offset % CLUSTER for offset in self._l1_offsets.values()):
            raise ValueError("a table outside the file")
        self._table_number = -1
        self._l2_entries = [0] * ENTRIES
        self._dirty_pages: set[int] = set()
        """Pages of the table in memory that differ from the file's."""
        os.ftruncate(writer.file, self._end if saved else 0)
        if saved and saved["table"] >= 0:
            self._select_table(saved["table"])
            self._drop_entries_after(self._end)

    def write(self, offset: int, block: Block) -> None:
        table, slot = divmod(offset // CLUSTER, ENTRIES)
        if table != self._table_number:
            self._select_table(table)
        host_offset = self._l2_entries[slot] & _OFFSET
        if not host_offset:
            host_offset = self._allocate()
            self._l2_entries[slot] = host_offset | COPIED
            self._dirty_pages.add(slot // _PAGE)
        self._writer.write(host_offset, block if len(block) == CLUSTER else block.ljust(CLUSTER, b"\0"))

    def read(self, offset: int) -> bytes:
        table, slot = divmod(offset // CLUSTER, ENTRIES)
        if table != self._table_number:
            self._select_table(table)
        host_offset = self._l2_entries[slot] & _OFFSET
        return self._read_cluster(host_offset) if host_offset else ZEROS

    def checkpoint_state(self) -> CheckpointState:
        self._write_table()
        return {"next": self._end, "l1": list(self._l1_offsets.items()), "table": self._table_number}

    def sync(self) -> None:
        """Nothing: everything is in the file."""

    def finish(self, size: int) -> None:
        """Append L1 and refcounts, then write the header: without it the file is not an image."""
        self._write_table()
        l1_length = -(-size // (CLUSTER * ENTRIES))
        l1_offset = self._append(pack_entries([self._entry(table) for table in range(l1_length)]))
        refcount_table, refcount_table_clusters = self._append_refcounts()
        header = pack_header(
            size,
            l1_length=l1_length,
            l1_offset=l1_offset,
            refcount_table=refcount_table,
            refcount_table_clusters=refcount_table_clusters,
        )
        self._writer.write(0, header.ljust(CLUSTER, b"\0"))

    def _entry(self, table: int) -> int:
        host_offset = self._l1_offsets.get(table, 0)
        return host_offset | COPIED if host_offset else 0

    def _select_table(self, table: int) -> None:
        """Make `table` the one in memory."""
        self._write_table()
        self._table_number = table
        if table in self._l1_offsets:  # only when blocks come out of order
            self._l2_entries = list(
                struct.unpack(f">{ENTRIES}Q", self._read_cluster(self._l1_offsets[table]))
            )
        else:
            self._l1_offsets[table] = self._allocate()
            self._l2_entries = [0] * ENTRIES
            # A hole would do, but no part of the file is one.
            self._dirty_pages.update(range(ENTRIES // _PAGE))

    def _write_table(self) -> None:
        """Write the changed parts of the table in memory: notes and checkpoints come every few MiB."""
        for page in sorted(self._dirty_pages):
            first = page * _PAGE
            self._writer.write(
                self._l1_offsets[self._table_number] + first * 8,
                pack_entries(self._l2_entries[first : first + _PAGE]),
            )
        self._dirty_pages.clear()

    def _read_cluster(self, host_offset: int) -> bytes:
        self._writer.drain()
        return os.pread(self._writer.file, CLUSTER, host_offset).ljust(CLUSTER, b"\0")

    def _drop_entries_after(self, end: int) -> None:
        """Drop the entries after the checkpoint at which the file ended at `end`."""
        self._l2_entries = [entry if entry & _OFFSET < end else 0 for entry in self._l2_entries]
        self._dirty_pages.update(range(ENTRIES // _PAGE))

    def _allocate(self, clusters: int = 1) -> int:
        host_offset = self._end
        self._end += clusters * CLUSTER
        return host_offset

    def _append(self, content: bytes) -> int:
        """Append as many clusters as `content` fills."""
        start = self._allocate(-(-len(content) // CLUSTER))
        for position in range(0, len(content), CLUSTER):
            self._writer.write(start + position, content[position : position + CLUSTER].ljust(CLUSTER, b"\0"))
        return start

    def _append_refcounts(self) -> tuple[int, int]:
        """Append the refcount table and its blocks; the table's place and its number of clusters."""
        data_clusters = self._end // CLUSTER
        blocks, tables = refcount_clusters(data_clusters)
        first = self._end + tables * CLUSTER
        host_offset = self._append(pack_entries([first + index * CLUSTER for index in range(blocks)]))
        total = data_clusters + blocks + tables
        for index in range(blocks):
            used_clusters = min(PER_BLOCK, total - index * PER_BLOCK)
            self._append((b"\0\1" * used_clusters).ljust(CLUSTER, b"\0"))
        return host_offset, tables


def max_file_size(size: int) -> int:
    """Bytes of the image of a disk of `size` bytes without zeros: the most that can be needed."""
    data = -(-size // CLUSTER)
    tables = -(-data // ENTRIES)
    clusters = 1 + data + tables + -(-tables // ENTRIES)
    blocks = -(-(clusters + 2) // (PER_BLOCK - 2))  # they count themselves, and the table of them, too
    return (clusters + blocks + -(-blocks // ENTRIES)) * CLUSTER


def refcount_clusters(clusters: int) -> tuple[int, int]:
    """How many refcount blocks, and clusters of their table, a file needs that has `clusters` others."""
    blocks = tables = 0
    while clusters + blocks + tables > blocks * PER_BLOCK or blocks > tables * ENTRIES:
        blocks = -(-(clusters + blocks + tables) // PER_BLOCK)
        tables = -(-blocks // ENTRIES)
    return blocks, tables


def pack_header(
    size: int, *, l1_length: int, l1_offset: int, refcount_table: int, refcount_table_clusters: int
) -> bytes:
    """The header of an image of a disk of `size` bytes. Offsets in bytes; `l1_length` in entries."""
    return _HEADER.pack(
        b"QFI\xfb",
        3,
        0,
        0,
        16,
        size + -size % 512,  # QEMU counts in sectors
        0,
        l1_length,
        l1_offset,
        refcount_table,
        refcount_table_clusters,
        0,
        0,
        0,
        0,
        0,
        4,
        _HEADER_LENGTH,
    )


def pack_entries(entries: list[int]) -> bytes:
    return struct.pack(f">{len(entries)}Q", *entries)
