"""A raw disk becomes a qcow2 image in place: only its first cluster moves.

    raw     │ cluster 0 │ clusters 1 to n-1 │
    qcow2   │  header   │ clusters 1 to n-1 │ cluster 0 │ L2 tables │ L1 │ refcount table │ refcount blocks │

A copy would need the space of the disk a second time, and a scratch claim has room for one. Holes stay holes.
A killed attempt is repeated: until the record of the landing says that the disk is wrapped, the file is the
raw disk with something behind its end; from then on only the header can be missing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from steps.disk.faults import storage_fault
from steps.disk.landed import Landed, LandingFiles
from steps.disk.qcow2 import COPIED, ENTRIES, PER_BLOCK, pack_entries, pack_header, refcount_clusters
from steps.disk.sink import CLUSTER
from steps.disk.state import replace_file, sync_folder

_REFERENCED: Final = b"\0\1"
"""A 16-bit refcount of one cluster."""


@dataclass(frozen=True)
class Layout:
    """Where everything is in the image around a raw disk of `size` bytes. Numbers of clusters."""

    size: int

    @property
    def moved(self) -> int:
        """The first cluster's new place: behind the disk, whose number of clusters it is."""
        return -(-self.size // CLUSTER)

    @property
    def tables(self) -> int:
        return self.moved + 1

    @property
    def table_count(self) -> int:
        return -(-self.moved // ENTRIES)

    @property
    def l1(self) -> int:
        return self.tables + self.table_count

    @property
    def refcount_table(self) -> int:
        return self.l1 + -(-self.table_count // ENTRIES)

    @property
    def refcounts(self) -> tuple[int, int]:
        """How many clusters the refcount blocks, and the table of them, take."""
        return refcount_clusters(self.refcount_table)

    @property
    def first_block(self) -> int:
        return self.refcount_table + self.refcounts[1]

    @property
    def end(self) -> int:
        return self.first_block + self.refcounts[0]


def wrap(landed: Landed, out: Path, taken_for: str) -> Landed:
    """Make the raw disk that landed at `out` a qcow2 image, as receivers take it for `taken_for`.

    Raises:
        StepError: NO_SPACE, UNREACHABLE or INVALID for the scratch; the next attempt repeats it.
    """
    files = LandingFiles(out)
    try:
        with _undone_on_failure(out, landed.size):
            end = _append_tables(out, landed.size)
        wrapped = replace(
            landed,
            path=files.wrapped,
            format="qcow2",
            virtual_size=landed.size,
            size=end,
            taken_for=taken_for,
        )
        replace_file(files.landed, wrapped.to_json())
    except OSError as error:
        raise storage_fault(error, out) from error
    return finish(wrapped, out)


@contextlib.contextmanager
def _undone_on_failure(path: Path, size: int) -> Iterator[None]:
    """Without room for the tables the file is the raw disk again: an export would replace a longer one."""
    try:
        yield
    except OSError:
        with contextlib.suppress(OSError):
            os.truncate(path, size)
        raise


def recover(landed: Landed, out: Path) -> Landed:
    """Finish a wrap that a killed attempt has recorded, and undo one that it has not.

    Raises:
        StepError: as `wrap`.
    """
    if landed.taken_for:
        return finish(landed, out)
    if landed.format == "raw":
        try:
            with contextlib.suppress(FileNotFoundError):  # qemu-img reports it
                if landed.size < out.stat().st_size <= Layout(landed.size).end * CLUSTER:
                    os.truncate(out, landed.size)
        except OSError as error:
            raise storage_fault(error, out) from error
    return landed


def finish(wrapped: Landed, out: Path) -> Landed:
    """Give a wrapped disk its name and its header. It may have both already.

    Raises:
        StepError: as `wrap`.
    """
    try:
        if not wrapped.path.exists():
            out.replace(wrapped.path)
            sync_folder(out.parent)
        _write_header(wrapped.path, Layout(wrapped.virtual_size or 0))  # `Landed.validate`: never None
    except OSError as error:
        raise storage_fault(error, out) from error
    return wrapped


def _append_tables(path: Path, size: int) -> int:
    """Append everything but the header, on stable storage; returns the length of the file in bytes."""
    layout = Layout(size)
    with path.open("r+b", buffering=0) as raw:
        file = raw.fileno()
        os.ftruncate(file, size)  # without what a killed attempt appended
        _write(file, layout.moved, os.pread(file, CLUSTER, 0))
        for table in range(layout.table_count):
            _write(file, layout.tables + table, pack_entries(_table_entries(file, layout, table)))
        offsets = [(layout.tables + table) * CLUSTER | COPIED for table in range(layout.table_count)]
        _write(file, layout.l1, pack_entries(offsets))
        blocks = range(layout.first_block, layout.end)
        _write(file, layout.refcount_table, pack_entries([block * CLUSTER for block in blocks]))
        for number, block in enumerate(blocks):
            _write(file, block, _refcounts(file, layout, number * PER_BLOCK))
        os.ftruncate(file, layout.end * CLUSTER)
        os.fsync(file)
    return layout.end * CLUSTER


def _table_entries(file: int, layout: Layout, table: int) -> list[int]:
    """The L2 entries of one table: each used cluster is where it was, except the first one."""
    first = table * ENTRIES
    entries = [0] * min(ENTRIES, layout.moved - first)
    for cluster in _used_clusters(file, first, first + len(entries)):
        entries[cluster - first] = cluster * CLUSTER | COPIED
    if table == 0:
        entries[0] = layout.moved * CLUSTER | COPIED
    return entries


def _refcounts(file: int, layout: Layout, first: int) -> bytes:
    """A refcount block, whose first entry is that of the cluster `first`. A hole has no references."""
    counts = bytearray(CLUSTER)
    last = min(first + PER_BLOCK, layout.end)
    for cluster in _used_clusters(file, first, min(last, layout.moved)):
        counts[2 * (cluster - first) : 2 * (cluster - first) + 2] = _REFERENCED
    if first == 0:
        counts[:2] = _REFERENCED  # the header
    appended = max(first, layout.moved)
    if appended < last:
        counts[2 * (appended - first) : 2 * (last - first)] = _REFERENCED * (last - appended)
    return bytes(counts)


def _used_clusters(file: int, first: int, last: int) -> Iterator[int]:
    """Clusters from `first` to before `last` that are no holes (lseek(2), SEEK_DATA)."""
    position, end = first * CLUSTER, last * CLUSTER
    while position < end:
        try:
            start = os.lseek(file, position, os.SEEK_DATA)
        except OSError:  # ENXIO: a hole up to the end of the file
            return
        if start >= end:
            return
        hole = min(os.lseek(file, start, os.SEEK_HOLE), end)
        yield from range(start // CLUSTER, -(-hole // CLUSTER))
        position = -(-hole // CLUSTER) * CLUSTER


def _write_header(path: Path, layout: Layout) -> None:
    header = pack_header(
        layout.size,
        l1_length=layout.table_count,
        l1_offset=layout.l1 * CLUSTER,
        refcount_table=layout.refcount_table * CLUSTER,
        refcount_table_clusters=layout.refcounts[1],
    )
    with path.open("r+b", buffering=0) as file:
        os.pwrite(file.fileno(), header.ljust(CLUSTER, b"\0"), 0)
        os.fsync(file.fileno())


def _write(file: int, cluster: int, content: bytes) -> None:
    """Write `content` from a cluster on. A full filesystem writes a part, and the next call shows why."""
    rest, offset = memoryview(content), cluster * CLUSTER
    while rest:
        count = os.pwrite(file, rest, offset)
        rest, offset = rest[count:], offset + count
