"""An empty registry hive: the file that Windows and hivex fill with keys. Only the standard library."""

from __future__ import annotations

import struct
from typing import Final

_BLOCK: Final = 4096
_ROOT: Final = 0x20
"""Offset of the root key in the first bin (hivex lib/hivex-internal.h has the structures)."""


def empty_hive() -> bytes:
    """A header, and one bin with a root key and its security record."""
    cells = _cell(_key(b"root", security=_ROOT + 88)) + _cell(_security(_ROOT + 88))
    free = _BLOCK - _ROOT - len(cells)
    bin_header = struct.pack("<4sII20x", b"hbin", 0, _BLOCK)
    return _header() + bin_header + cells + struct.pack("<i", free) + bytes(free - 4)


def _header() -> bytes:
    words = struct.pack("<4sIIQIIIIIII", b"regf", 1, 1, 0, 1, 3, 0, 1, _ROOT, _BLOCK, 1).ljust(508, b"\0")
    checksum = 0
    for (word,) in struct.iter_unpack("<I", words):
        checksum ^= word
    return (words + struct.pack("<I", checksum)).ljust(_BLOCK, b"\0")


def _cell(content: bytes) -> bytes:
    """A used cell: its size is negative, and a multiple of 8."""
    size = 4 + len(content) + -(4 + len(content)) % 8
    return struct.pack("<i", -size) + content.ljust(size - 4, b"\0")


def _key(name: bytes, security: int) -> bytes:
    none = 0xFFFFFFFF
    head = struct.pack("<2sHQ", b"nk", 0x2C, 0)
    links = struct.pack("<10I", 0, none, 0, 0, none, none, 0, none, security, none)
    return head + links + struct.pack("<HHIIII", 0, 0, 0, 0, 0, 0) + struct.pack("<HH", len(name), 0) + name


def _security(offset: int) -> bytes:
    return struct.pack("<2sHIIII", b"sk", 0, offset, offset, 1, 0)
