#!/usr/bin/env python3
"""Make the data disk whose content the guest reports.

Layout, all offsets in bytes from the start of the disk:

* 0, 4096 bytes: the header, ASCII lines padded with NULs, easy to read from a
  shell::

      VMFERRY-DATA 1
      nonce <64 hex digits>
      extent <offset> <length>      four of them, in payload order
      stay 1                        only when the guest is to stay up
      end

* The payload is the four extents one after the other; its SHA-256 is what the
  guest prints. The first starts one sector behind a 1 MiB boundary and the last
  ends with the last byte of the disk, so that neither a block-aligned copy nor
  a truncated disk goes unnoticed. Between them are holes.
* Extents 0 and 3 are random all through. The second quarter of extent 1 is
  zeros that are written; the third quarter of extent 2 is a hole.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

MIB = 1 << 20
SECTOR = 512
HEADER_SIZE = 4096
MAGIC = "VMFERRY-DATA 1"
EXTENTS = 4
FIRST_EXTENT = MIB + SECTOR
MIN_GAP = MIB
DEFAULT_SIZE = 256 * MIB
DEFAULT_PAYLOAD_MIB = 64
UNITS = {"": 1, "K": 1 << 10, "M": MIB, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class Extent:
    """One piece of the payload on the disk."""

    offset: int
    length: int


@dataclass(frozen=True)
class DataDisk:
    """What the guest must report about the disk at `path`."""

    nonce: str
    sha256: str
    path: Path
    size: int


def layout(size: int, payload: int) -> tuple[Extent, ...]:
    """The positions of the payload on a disk of `size` bytes."""
    length = payload // EXTENTS
    if size % SECTOR or payload < MIB or payload % MIB:
        raise ValueError("the disk must be whole sectors and the payload whole MiB")
    step = (size - length - FIRST_EXTENT) // (EXTENTS - 1)
    if step < length + MIN_GAP:
        raise ValueError(f"a disk of {size} bytes is too small for {payload} bytes of payload")
    starts = [FIRST_EXTENT + i * (step - step % SECTOR) for i in range(EXTENTS - 1)]
    return tuple(Extent(start, length) for start in [*starts, size - length])


def make(
    path: str | Path,
    *,
    size: int = DEFAULT_SIZE,
    payload_mib: int = DEFAULT_PAYLOAD_MIB,
    seed: bytes | None = None,
    stay: bool = False,
    flip_byte: int | None = None,
) -> DataDisk:
    """Write a fresh disk; the same `seed` gives the same disk.

    `flip_byte` inverts that byte of the payload on the disk only: the guest then
    reports another SHA-256 than the one returned.
    """
    path = Path(path)
    extents = layout(size, payload_mib * MIB)
    seed = os.urandom(32) if seed is None else seed
    nonce = hashlib.sha256(b"nonce" + seed).hexdigest()
    digest = hashlib.sha256()
    with path.open("wb") as disk:
        disk.write(_header(nonce, extents, stay))
        for index, extent in enumerate(extents):
            pieces = _pieces(index, extent.length, seed)
            _write(disk.fileno(), extent.offset, pieces)
            for data, _ in pieces:
                digest.update(data)
        disk.truncate(size)
    if flip_byte is not None:
        _flip(path, disk_offset(extents, flip_byte))
    return DataDisk(nonce, digest.hexdigest(), path, size)


def expected(path: str | Path) -> DataDisk:
    """Read a raw data disk as the guest does, and return what it would report."""
    path = Path(path)
    digest = hashlib.sha256()
    with path.open("rb") as disk:
        nonce, extents = parse_header(disk.read(HEADER_SIZE))
        for extent in extents:
            disk.seek(extent.offset)
            digest.update(disk.read(extent.length))
        size = disk.seek(0, os.SEEK_END)
    return DataDisk(nonce, digest.hexdigest(), path, size)


def parse_header(block: bytes) -> tuple[str, tuple[Extent, ...]]:
    """The nonce and the extents from the header block."""
    lines = block.rstrip(b"\0").decode("ascii", "replace").splitlines()
    if len(lines) < 2 or lines[0] != MAGIC or lines[-1] != "end":
        raise ValueError("no data disk: the header is missing or damaged")
    fields = [line.split() for line in lines[1:-1]]
    nonces = [field[1] for field in fields if field[0] == "nonce"]
    extents = [Extent(int(field[1]), int(field[2])) for field in fields if field[0] == "extent"]
    if len(nonces) != 1 or not extents:
        raise ValueError("no data disk: the header has no nonce or no extent")
    return nonces[0], tuple(extents)


def disk_offset(extents: tuple[Extent, ...], payload_offset: int) -> int:
    """The position of a byte of the payload on the disk."""
    rest = payload_offset
    for extent in extents:
        if 0 <= rest < extent.length:
            return extent.offset + rest
        rest -= extent.length
    raise ValueError(f"the payload has no byte {payload_offset}")


def _header(nonce: str, extents: tuple[Extent, ...], stay: bool) -> bytes:
    lines = [MAGIC, f"nonce {nonce}"]
    lines += [f"extent {extent.offset} {extent.length}" for extent in extents]
    lines += ["stay 1"] if stay else []
    return "".join(f"{line}\n" for line in [*lines, "end"]).encode().ljust(HEADER_SIZE, b"\0")


def _pieces(index: int, length: int, seed: bytes) -> list[tuple[bytes, bool]]:
    """The content of an extent, and for each piece whether it is written or a hole."""
    random = hashlib.shake_256(b"payload%d" % index + seed).digest(length)
    quarter = length // 4
    zeros = {1: quarter, 2: 2 * quarter}.get(index)
    if zeros is None:
        return [(random, True)]
    return [
        (random[:zeros], True),
        (bytes(quarter), index == 1),
        (random[zeros + quarter :], True),
    ]


def _write(disk: int, offset: int, pieces: list[tuple[bytes, bool]]) -> None:
    for data, written in pieces:
        if written:
            _write_all(disk, data, offset)
        offset += len(data)


def _write_all(disk: int, data: bytes, offset: int) -> None:
    """pwrite() may write less than requested."""
    view = memoryview(data)
    while view:
        count = os.pwrite(disk, view, offset)
        view, offset = view[count:], offset + count


def _flip(path: Path, offset: int) -> None:
    with path.open("r+b") as disk:
        disk.seek(offset)
        byte = disk.read(1)[0]
        disk.seek(offset)
        disk.write(bytes([byte ^ 0xFF]))


def parse_size(text: str) -> int:
    """`256M` and similar, in bytes."""
    match = re.fullmatch(r"(\d+)([KMGT]?)", text.upper())
    if match is None:
        raise argparse.ArgumentTypeError(f"no size: {text!r} (want e.g. 256M)")
    return int(match[1]) * UNITS[match[2]]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make a data disk for the test guest.")
    parser.add_argument("path", metavar="OUT.img")
    parser.add_argument("--size", type=parse_size, default=DEFAULT_SIZE, help="default 256M")
    parser.add_argument("--payload-mib", type=int, default=DEFAULT_PAYLOAD_MIB, help="default 64")
    parser.add_argument("--seed", type=bytes.fromhex, metavar="HEX", help="default: random")
    parser.add_argument("--stay", action="store_true", help="the guest gives a shell, stays up")
    parser.add_argument("--flip-byte", type=int, metavar="OFFSET", help="invert this byte of the payload")
    return parser.parse_args()


def _main() -> None:
    try:
        made = make(**vars(_arguments()))
    except (ValueError, OSError) as error:
        raise SystemExit(f"datadisk: {error}") from None
    sys.stdout.write(json.dumps({**asdict(made), "path": str(made.path)}) + "\n")


if __name__ == "__main__":
    _main()
