"""The file that a disk is in, as the package has it: descriptors are imprecise about names and compression.

    descriptor: disk.vmdk      package: disk.vmdk.000000000     an export of a VM with snapshots, or in pieces
    descriptor: disk.vmdk.gz   package: compressed by gzip      without the attribute `compression`

What the first bytes of a file say counts only where they cannot be the guest's: a raw disk and a fixed VHD
begin with bytes that the guest wrote.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Final

from steps.disk.self_contained import ReadAt
from steps.disk.virtual_size import MAGICS
from steps.providers.ova import formats
from steps.providers.ova.appliance import Appliance
from steps.providers.ova.envelope import File, VirtualDisk, piece_name
from steps.providers.ova.hardware import Drive
from steps.providers.ova.names import match_key
from steps.providers.ova.package import Package

_MAX_OPENED_PIECES: Final = 64
"""Most files that one read opens: pieces of real packages have some MB."""
_MAX_PROBED: Final = 32
"""Most numbered files that are searched for one after the other, if files cannot be listed."""
_NUMBERED: Final = re.compile(r"(.+)\.(\d{9})")
_HEAD_BYTES: Final = 16


def drive(appliance: Appliance, declared: Drive) -> Drive:
    """A drive with the file that the package has; it reads the file's first bytes."""
    return replace(declared, disk=declared.disk and disk(appliance.package, declared.disk))


def disk(package: Package, declared: VirtualDisk, *, full_scan: bool = False) -> VirtualDisk:
    """A disk with the file that the package has. Without `full_scan`, only as far as that is near."""
    if declared.file is None:
        return declared
    file = _named(package, declared, declared.file, full_scan=full_scan)
    file = replace(file, compression=_compression(package, declared, file))
    return (
        declared if file == declared.file else replace(declared, file=replace(file, declared=declared.file))
    )


def numbered_names(package: Package, name: str, *, full_scan: bool = False) -> list[str]:
    """The files NAME.000000000, NAME.000000001 and so on that the package has."""
    listed = package.names(full_scan=full_scan)
    if listed is None:
        candidates = (f"{name}.{number:09d}" for number in range(_MAX_PROBED))
        return list(takewhile(lambda candidate: package.has(candidate) is True, candidates))
    matches = (_NUMBERED.fullmatch(candidate) for candidate in listed)
    key = match_key(name)
    return sorted(match[0] for match in matches if match and match_key(match[1]) == key)


def _named(package: Package, declared: VirtualDisk, file: File, *, full_scan: bool) -> File:
    """The file with the name that the package has; as it is, if that is not clear."""
    there = package.has(file.name)
    if file.chunk or there or (there is None and not full_scan):
        return file
    names = numbered_names(package, file.name, full_scan=full_scan)
    if len(names) == 1:
        return replace(file, name=names[0])
    magic = MAGICS.get(formats.declared_format(declared) or "")
    if not names or magic is None:
        return file
    begin_a_disk = [package.peek(name, len(magic)) == magic for name in names]
    if begin_a_disk[0] and begin_a_disk[-1]:
        return replace(file, name=names[-1])  # of several snapshots the last one is the current state
    return _in_pieces(package, file, names) if begin_a_disk[0] and not any(begin_a_disk[1:]) else file


def _in_pieces(package: Package, file: File, names: Sequence[str]) -> File:
    """A file that is split, although the descriptor does not say so; as it is, if its pieces do not fit."""
    sizes = [package.size(name) for name in names]
    size = sizes[0] or 0
    is_whole = names == [piece_name(file, number) for number in range(len(names))]
    fits = all(other == size for other in sizes[:-1]) and 0 < (sizes[-1] or 0) <= size
    return replace(file, chunk=size) if is_whole and fits else file


def _compression(package: Package, declared: VirtualDisk, file: File) -> str:
    """The compression by the first bytes of the file; the descriptor's word if they are not known."""
    head = package.peek(piece_name(file, 0) if file.chunk else file.name, _HEAD_BYTES)
    file_format = formats.declared_format(declared)
    has_name = formats.without_compression(file.name) != file.name
    if len(head) < _HEAD_BYTES:
        is_likely = file.name.lower().endswith(".gz") and file_format in MAGICS
        return file.compression or ("gzip" if is_likely and not head else "")
    found = formats.compression_of(head)
    if found:
        is_certain = has_name or file.compression or file_format in MAGICS
        return found if is_certain else file.compression
    return "" if file.compression == "gzip" else file.compression


def file_size(package: Package, file: File) -> int | None:
    """Bytes of a file that is neither compressed nor split; None for others, or if that is not known."""
    return None if file.compression or file.chunk else package.size(file.name)


def reader(package: Package, file: File) -> ReadAt:
    """The bytes of a disk's file, split or not; only the first ones if it is compressed."""
    if file.compression == "gzip":
        head = formats.inflate_head(_read(package, file, 0, formats.PACKED_HEAD_BYTES))
        return lambda offset, length: head[offset : offset + length]
    return lambda offset, length: _read(package, file, offset, length)


def _read(package: Package, file: File, offset: int, length: int) -> bytes:
    if not file.chunk:
        return package.peek(file.name, length, offset)
    content, end = b"", offset + length
    first = offset // file.chunk
    for number in range(first, first + _MAX_OPENED_PIECES):
        position = offset + len(content)
        wanted = min(end, (number + 1) * file.chunk) - position
        part = package.peek(piece_name(file, number), wanted, position - number * file.chunk)
        content += part
        if len(part) < wanted or len(content) == length:
            break
    return content
