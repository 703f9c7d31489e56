"""Proves that a volume holds what was written to it: reads it back and compares it with the checksums.

The bytes come from the device and not from the memory of the kernel (O_DIRECT), where the volume allows it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from steps.disk.direct import read_ranges
from steps.disk.sink import CLUSTER, ZEROS
from steps.disk.volume_sink import KnownSums, block_sum
from steps.runtime.stop import Stop

_ZEROS: Final = bytearray(ZEROS)
"""As a bytearray: its comparison with a memoryview is one memcmp."""

Range = tuple[int, int]


@dataclass(frozen=True)
class ReadBack:
    """The result: bytes that were read, and where the first block differs; None if none does."""

    read: int
    differs_at: int | None = None


def read_back(
    disk: Path,
    sums: KnownSums,
    size: int,
    *,
    start: int = 0,
    is_device: bool,
    report: Callable[[int, int], None],
    stop: Stop,
) -> ReadBack:
    """Compare the bytes from `start` (a block's) to before `size` of the disk with `sums`.

    Holes of a file are not read: the filesystem knows that they are zeros. A device is read as a whole,
    because what was not written must be zeros there, too. Raises OSError.
    """
    ranges = [(start, size)] if is_device else list(data_ranges(disk, size, start))
    total, done, reached = sum(end - begin for begin, end in ranges), 0, start
    for begin, end in ranges:
        if not sums.are_unwritten(reached // CLUSTER, begin // CLUSTER):
            return ReadBack(done, _first_written(sums, reached, begin))  # it was written, and is a hole now
        for offset, piece in read_ranges(disk, [(begin, end)]):
            stop.check()
            wrong = _first_difference(sums, offset, piece, min(len(piece), size - offset))
            if wrong is not None:
                return ReadBack(done, wrong)
            done += len(piece)
            report(done, total)
        reached = end
    last = min(-(-size // CLUSTER), sums.count())
    if not sums.are_unwritten(min(-(-reached // CLUSTER), last), last):
        return ReadBack(done, _first_written(sums, reached, size))
    return ReadBack(done)


def _first_difference(sums: KnownSums, offset: int, piece: memoryview, length: int) -> int | None:
    """The offset of the first block of `piece` that differs, or that is missing at its end."""
    for start in range(0, length, CLUSTER):
        block = piece[start : min(start + CLUSTER, length)]
        known = sums.get(offset + start)
        if known:
            if block_sum(block) != known:
                return offset + start
        elif _ZEROS[: len(block)] != block:
            return offset + start
    return None


def _first_written(sums: KnownSums, start: int, end: int) -> int:
    return next((at for at in range(start, end, CLUSTER) if sums.get(at)), start)


def data_ranges(path: Path, size: int, start: int = 0) -> Iterator[Range]:
    """Where a file has data between `start` and `size`, in ranges of whole blocks (lseek(2), SEEK_DATA)."""
    file = os.open(path, os.O_RDONLY)
    try:
        position = start
        while position < size:
            try:
                data = os.lseek(file, position, os.SEEK_DATA)
            except OSError:  # ENXIO: a hole up to the end of the file
                return
            hole = os.lseek(file, data, os.SEEK_HOLE)
            begin, end = data - data % CLUSTER, min(-(-hole // CLUSTER) * CLUSTER, size)
            if begin < size:
                yield begin, end
            position = end
    finally:
        os.close(file)
