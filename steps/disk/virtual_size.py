"""The size of the disk in an image, from a few of its bytes: what a guest sees, not the size of the file.

It is the size that `steps.disk.qemu` finds for the same image later: QEMU omits a part of a sector at the end
of an image, and completes that of a raw disk (block/qcow2.c, block/vhdx.c; block.c,
bdrv_refresh_total_sectors).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from steps.disk import self_contained
from steps.disk.self_contained import ReadAt
from steps.disk.vmdk import MAGIC, SECTOR, Header
from steps.model.contract import StepError

MAGICS: Final = {"vmdk": MAGIC, "qcow2": b"QFI\xfb", "vhdx": b"vhdxfile"}
"""First bytes of images of formats that always have them. Fixed VHDs and raw disks begin with guest data."""
_VHD_COOKIE: Final = b"conectix"
_VHD_FOOTER: Final = 512
_VHD_CURRENT_SIZE: Final = 48
"""VHD, "Current Size" (Microsoft, Virtual Hard Disk Image Format Specification 1.0, Hard Disk Footer)."""


def of(image_format: str, read: ReadAt, file_size: int | None = None) -> int:
    """Bytes of the disk; 0 if they cannot be read, or are impossible.

    Args:
        image_format: QEMU's name of the format.
        read: returns the image's bytes.
        file_size: of the image's file, if its end can be read.
    """
    readers: dict[str, Callable[[ReadAt, int | None], int]] = {
        "vmdk": _vmdk,
        "qcow2": _qcow2,
        "vpc": _vhd,
        "vhdx": _vhdx,
    }
    reader = readers.get(image_format)
    return reader(read, file_size) if reader else 0


def _vmdk(read: ReadAt, _file_size: int | None) -> int:
    head = read(0, SECTOR)
    if len(head) < SECTOR or not head.startswith(MAGIC):
        return 0
    try:
        return Header.parse(head).size
    except StepError:
        return 0


def _qcow2(read: ReadAt, _file_size: int | None) -> int:
    head = read(0, 32)
    if not head.startswith(MAGICS["qcow2"]) or len(head) < 32:
        return 0
    size: int = struct.unpack_from(">Q", head, 24)[0]
    return size - size % SECTOR


def _vhd(read: ReadAt, file_size: int | None) -> int:
    """By the footer at the end, or its copy at the start of all but fixed disks.

    Not by cylinders, heads and sectors, which programs round up or down: all but the oldest use the size.
    """
    footers = [read(0, _VHD_FOOTER)]
    if file_size and file_size > _VHD_FOOTER and not footers[0].startswith(_VHD_COOKIE):
        footers.append(read(file_size - _VHD_FOOTER, _VHD_FOOTER))
    for footer in footers:
        if footer.startswith(_VHD_COOKIE) and len(footer) == _VHD_FOOTER:
            size: int = struct.unpack_from(">Q", footer, _VHD_CURRENT_SIZE)[0]
            return size - size % SECTOR
    return 0


def _vhdx(read: ReadAt, _file_size: int | None) -> int:
    size = self_contained.vhdx_size(read)
    return size - size % SECTOR
