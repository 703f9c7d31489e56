"""Writes a raw disk to its volume, with a checksum for each block, by which it is proved later.

A new file reads as zeros where nothing was written. A new block device need not: some storage hands out what
an earlier owner wrote. So the device is emptied first (discard, or write zeroes by the device), and where it
can do neither, zeros are written where it holds something else.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from steps.disk.sink import CLUSTER, ZEROS, Block, CheckpointState
from steps.disk.writer import BackgroundWriter

_ENTRY: Final = struct.Struct("<I")
_KEEP_SIZE: Final = 1
_PUNCH_HOLE: Final = 2  # linux/falloc.h
_UNSUPPORTED: Final = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV)
_PUNCH_BYTES: Final = 1 << 30
"""Bytes of one call: the kernel cannot be interrupted in it."""
_GAP_BYTES: Final = 2 << 20


def block_sum(block: bytes | bytearray | memoryview) -> int:
    """The checksum of a block that was written; never 0, which stands for a block that was not."""
    return zlib.crc32(block) or 1


def sums_size(capacity: int) -> int:
    """Bytes of the checksums of a disk of `capacity` bytes: a hundredth of a per cent."""
    return -(-capacity // CLUSTER) * _ENTRY.size


class KnownSums:
    """The checksums of the blocks of a disk, in the file `path`; 0: never written, so zeros."""

    def __init__(self, path: Path) -> None:
        """Raises OSError or ValueError if there are none."""
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def get(self, offset: int) -> int:
        """The checksum of the block at `offset`."""
        found: int = _ENTRY.unpack_from(self._map, offset // CLUSTER * _ENTRY.size)[0]
        return found

    def count(self) -> int:
        """The number of blocks."""
        return len(self._map) // _ENTRY.size

    def are_unwritten(self, first: int, last: int) -> bool:
        """Whether none of the blocks from `first` to before `last` was written."""
        entries = self._map[first * _ENTRY.size : last * _ENTRY.size]
        return entries.count(0) == len(entries)


class BlockSums(KnownSums):
    """The same while the disk is written.

    Only those of the first `kept` bytes of the disk are kept: an attempt may write less behind its last
    checkpoint than the one before did.
    """

    def __init__(self, path: Path, capacity: int, kept: int) -> None:
        size = sums_size(capacity)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(file, min(sums_size(kept), size))
            os.posix_fallocate(file, 0, size)  # writing to a map must never find a full filesystem
            self._map = mmap.mmap(file, size)
        finally:
            os.close(file)  # the map has its own

    def put(self, offset: int, block: Block) -> None:
        """Note that `block` was written at `offset`."""
        _ENTRY.pack_into(self._map, offset // CLUSTER * _ENTRY.size, block_sum(block))

    def sync(self) -> None:
        """Store them durably (msync(2), MS_SYNC). Raises OSError."""
        self._map.flush()


class VolumeSink:
    """Writes a raw disk of `capacity` bytes to a volume. See `sink.Sink`."""

    def __init__(
        self,
        writer: BackgroundWriter,
        sums: BlockSums,
        capacity: int,
        *,
        is_device: bool,
        saved: CheckpointState | None = None,
        rewritten: Callable[[], None] = lambda: None,
    ) -> None:
        """`rewritten` is called when a block is written behind one that was written before, at most once."""
        self._rewritten = rewritten
        self._in_order = True
        self._writer = writer
        self._sums = sums
        self._capacity = capacity
        self._is_device = is_device
        self._high = int(saved["high"]) if saved else 0
        self._emptied = self._empty(saved)

    def _empty(self, saved: CheckpointState | None) -> bool:
        """Remove what is behind the last checkpoint; whether the rest of a device reads as zeros now."""
        file = self._writer.file
        if not self._is_device:
            if os.fstat(file).st_size < self._high:
                raise ValueError("the file is shorter than it was")
            os.ftruncate(file, self._high)
            return True
        start = -(-self._high // CLUSTER) * CLUSTER
        return punch(file, start, os.lseek(file, 0, os.SEEK_END)) and bool(saved is None or saved["emptied"])

    def write(self, offset: int, block: Block) -> None:
        block = block[: self._capacity - offset]  # small grains are joined to whole blocks, also the last
        if offset < self._high and self._in_order:
            self._in_order = False
            self._rewritten()  # before the block changes
        self._sums.put(offset, block)
        self._writer.write(offset, block)
        self._high = max(self._high, offset + len(block))

    def read(self, offset: int) -> bytes:
        if not self._sums.get(offset):
            return ZEROS
        self._writer.drain()
        return os.pread(self._writer.file, CLUSTER, offset).ljust(CLUSTER, b"\0")

    def checkpoint_state(self) -> CheckpointState:
        return {"high": self._high, "emptied": self._emptied}

    def sync(self) -> None:
        self._sums.sync()

    def finish(self, size: int) -> None:
        self._writer.run_after_writes(lambda: self._finish(size))

    def _finish(self, size: int) -> None:
        if not self._is_device:
            os.ftruncate(self._writer.file, size)
        elif not self._emptied:
            zero_gaps(self._writer.file, self._sums, size)


def punch(file: int, start: int, end: int) -> bool:
    """Let the bytes from `start` to before `end` read as zeros, without writing them (fallocate(2)).

    Works for files and for devices that can discard or zero. False where the storage cannot do it.

    Raises:
        OSError: the storage failed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    while start < end:
        count = min(_PUNCH_BYTES, end - start)
        mode = ctypes.c_int(_PUNCH_HOLE | _KEEP_SIZE)
        if libc.fallocate(file, mode, ctypes.c_longlong(start), ctypes.c_longlong(count)):
            code = ctypes.get_errno()
            if code in _UNSUPPORTED:
                return False
            raise OSError(code, os.strerror(code))
        start += count
    return True


def zero_gaps(file: int, sums: BlockSums, size: int) -> None:
    """Write zeros to the device where no block was written and where it holds something else.

    Also behind the end of the disk of `size` bytes: the guest sees the whole device. Raises OSError.
    """
    end, step = os.lseek(file, 0, os.SEEK_END), _GAP_BYTES // CLUSTER
    blocks = -(-end // CLUSTER)
    _zero(file, size, min(end, sums.count() * CLUSTER))
    for first in range(0, blocks, step):
        for start, stop in _gaps(sums, first, min(first + step, blocks)):
            _zero(file, start * CLUSTER, min(stop * CLUSTER, end))


def _gaps(sums: BlockSums, first: int, last: int) -> list[tuple[int, int]]:
    """Runs of blocks that were not written. Those behind the disk count as such."""
    known = sums.count()
    if sums.are_unwritten(min(first, known), min(last, known)):
        return [(first, last)]
    runs: list[tuple[int, int]] = []
    for block in range(first, last):
        if block < known and sums.get(block * CLUSTER):
            continue
        if runs and runs[-1][1] == block:
            runs[-1] = (runs[-1][0], block + 1)
        else:
            runs.append((block, block + 1))
    return runs


def _zero(file: int, start: int, end: int) -> None:
    while start < end:
        held = os.pread(file, min(_GAP_BYTES, end - start), start)
        if not held:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if held.count(0) != len(held):
            rest = bytes(len(held))
            done = 0
            while done < len(rest):
                done += os.pwrite(file, rest[done:], start + done)
        start += len(held)
