"""Whether an NTFS file system is marked dirty: in the record of `$Volume`, as Windows keeps it.

The structures are those of ntfs-3g (include/ntfs-3g/layout.h): boot sector, MFT record, attribute header,
VOLUME_INFORMATION.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

Read = Callable[[int, int], bytes]
"""Reads bytes at an offset of the file system."""
_VOLUME_RECORD: Final = 3
_VOLUME_INFORMATION: Final = 0x70
_END: Final = 0xFFFFFFFF
_DIRTY: Final = 1
_LARGEST_RECORD: Final = 4096


def is_dirty(read: Read) -> bool | None:
    """Whether Windows would check the file system at its next start; None if that cannot be read."""
    boot = read(0, 512)
    if len(boot) < 512 or boot[3:11] != b"NTFS    ":
        return None
    sector, per_cluster = struct.unpack_from("<HB", boot, 11)
    cluster = sector * (per_cluster if per_cluster <= 0x80 else 1 << (256 - per_cluster))
    mft, record_size = struct.unpack_from("<Q", boot, 48)[0], struct.unpack_from("<b", boot, 64)[0]
    size = record_size * cluster if record_size > 0 else 1 << min(-record_size, 16)
    offset = mft * cluster + _VOLUME_RECORD * size
    if not 512 <= size <= _LARGEST_RECORD or offset >= 1 << 62:
        return None
    return _flag(read(offset, size))


def is_bitlocker(read: Read) -> bool:
    """Whether a partition is encrypted by BitLocker, which replaces the name in the boot sector."""
    return read(3, 8) == b"-FVE-FS-"


def _flag(record: bytes) -> bool | None:
    """The dirty bit in the record of `$Volume`."""
    if len(record) < 64 or record[:4] != b"FILE":
        return None
    offset = int(struct.unpack_from("<H", record, 20)[0])
    while offset + 24 <= len(record):
        kind, length = struct.unpack_from("<II", record, offset)
        if kind == _END or length < 24:
            return None
        if kind == _VOLUME_INFORMATION:
            value = offset + struct.unpack_from("<H", record, offset + 20)[0]
            # After 8 reserved bytes and the version: the flags.
            return bool(record[value + 10] & _DIRTY) if value + 12 <= len(record) else None
        offset += length
    return None
