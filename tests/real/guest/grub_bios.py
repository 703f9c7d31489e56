#!/usr/bin/env python3
"""Put GRUB's BIOS boot code into a disk image file.

grub-bios-setup wants a block device and a mounted /boot. On a GPT disk with a
BIOS-boot partition what it does is small and fixed, so we do it on the file:
boot.img goes into the MBR, core.img into the partition, and each is told where
the next one is.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

SECTOR = 512
# boot.img: code up to here; behind it the MBR keeps disk signature and partitions.
BOOT_CODE = 440
# boot.img: 64-bit number of the sector with the first part of core.img.
KERNEL_SECTOR = 0x5C
# boot.img: a jump that grub-bios-setup overwrites with two NOPs on hard disks,
# so that the drive number is taken from the BIOS as it is.
DRIVE_CHECK = 0x66
# core.img, first sector: where the rest is (sector, count, load segment).
BLOCKLIST = SECTOR - 12
LOAD_SEGMENT = 0x820


def boot_code(boot_img: bytes, core_sector: int) -> bytes:
    """boot.img that loads sector `core_sector`."""
    code = bytearray(boot_img[:BOOT_CODE])
    struct.pack_into("<Q", code, KERNEL_SECTOR, core_sector)
    code[DRIVE_CHECK : DRIVE_CHECK + 2] = b"\x90\x90"
    return bytes(code)


def core_code(core_img: bytes, core_sector: int) -> bytes:
    """core.img whose first sector loads the sectors behind it."""
    core = bytearray(core_img)
    core.extend(bytes(-len(core) % SECTOR))
    rest = len(core) // SECTOR - 1
    struct.pack_into("<QHH", core, BLOCKLIST, core_sector + 1, rest, LOAD_SEGMENT)
    return bytes(core)


def install(image: Path, boot_img: Path, core_img: Path, start: int, size: int) -> None:
    """Write both into `image`; `start` and `size` of the partition in sectors."""
    core = core_code(core_img.read_bytes(), start)
    if len(core) > size * SECTOR:
        raise SystemExit(f"core.img has {len(core)} bytes, too big for the BIOS-boot partition")
    with image.open("r+b") as disk:
        disk.write(boot_code(boot_img.read_bytes(), start))
        disk.seek(start * SECTOR)
        disk.write(core)


if __name__ == "__main__":
    disk_file, boot_file, core_file, start_sector, sectors = sys.argv[1:]
    install(Path(disk_file), Path(boot_file), Path(core_file), int(start_sector), int(sectors))
