"""A second reader of stream-optimized VMDKs in the opposite direction: from the directory to the grains.

It reads as QEMU's block/vmdk.c does (footer, directory, tables, grains wherever they point). So it shares no
step with the decoder, which reads from start to end and trusts each grain's own number.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

SECTOR: Final = 512
_HEADER: Final = struct.Struct("<4sIIQQQQIQQQ")
_LAST: Final = (1 << 64) - 1
_LARGEST: Final = 64 << 20
"""Maximum size in bytes of a disk for this reader."""


class Unreadable(Exception):  # noqa: N818 - says what the image is
    """The image is too large for this reader, or it cannot be read."""


def content(data: bytes) -> bytes:
    """The disk in a VMDK. Raises Unreadable."""
    try:
        return _content(data)
    except (struct.error, zlib.error, IndexError) as error:
        raise Unreadable(str(error)) from None


def _content(data: bytes) -> bytes:
    header = _HEADER.unpack_from(data)
    if header[9] == _LAST:
        header = _HEADER.unpack_from(data, _footer(data))
    capacity, grain, entries, directory = header[3], header[4], header[7], header[9]
    if not 0 < capacity * SECTOR <= _LARGEST or not 0 < grain <= capacity + (1 << 13) or not entries:
        raise Unreadable("its size")
    disk = bytearray(capacity * SECTOR)
    count = -(-capacity // (grain * entries))
    for index, table in enumerate(struct.unpack_from(f"<{count}I", data, directory * SECTOR)):
        places = struct.unpack_from(f"<{entries}I", data, table * SECTOR) if table else ()
        for slot, sector in enumerate(places):
            if sector > 1:
                at = (index * entries + slot) * grain * SECTOR
                block = _grain(data, sector * SECTOR, grain * SECTOR)[: max(0, len(disk) - at)]
                disk[at : at + len(block)] = block
    return bytes(disk)


def _grain(data: bytes, at: int, size: int) -> bytes:
    _, length = struct.unpack_from("<QI", data, at)
    return zlib.decompressobj().decompress(data[at + 12 : at + 12 + length], size)


def _footer(data: bytes) -> int:
    at = data.rfind(b"KDMV")
    while at > 0 and at % SECTOR:
        at = data.rfind(b"KDMV", 0, at)
    if at <= 0:
        raise Unreadable("it has no footer")
    return at
