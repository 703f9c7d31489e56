"""The unit in which guests see disks. Pure."""

from __future__ import annotations

from typing import Final

SECTOR: Final = 512
"""Bytes (QEMU include/block/block-common.h, BDRV_SECTOR_SIZE)."""


def whole_sectors(size: int) -> int:
    """`size` in bytes, rounded up to whole sectors, as QEMU does with a raw disk that ends within one."""
    return size + -size % SECTOR
