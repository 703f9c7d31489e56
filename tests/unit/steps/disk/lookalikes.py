"""Raw disks whose guest wrote the header of another format, and ordinary disks."""

from __future__ import annotations

import gzip
import lzma
import struct
from pathlib import Path
from typing import Final

SIZE: Final = 3 << 20


def qcow2(backing: Path, *, size: int = 1 << 20, version: int = 3) -> bytes:
    """The header of an image with a backing file (QEMU docs/interop/qcow2.txt)."""
    name = str(backing).encode()
    fixed = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        *(b"QFI\xfb", version, 0x200, len(name), 16, size, 0, 1, 1 << 16, 2 << 16, 1, 0, 0, 0, 0, 0, 4, 104),
    )
    return fixed.ljust(0x200, b"\0") + name


def heads(canary: Path) -> dict[str, bytes]:
    """What a guest may write to the start of its disk, by name. `canary` is a file that nobody may read."""
    descriptor = b'createType="monolithicFlat"\nRW 2048 FLAT "%s" 0\n' % str(canary).encode()
    return {
        "qcow2": qcow2(canary),
        "qcow": struct.pack(">4sIQIIQ", b"QFI\xfb", 1, 48, 8, 0, 1 << 20) + b"\0" * 16 + b"/etc/pas",
        "qed": b"QED\0" + struct.pack("<III", 65536, 4, 1) + bytes(48),
        "vmdk sparse": b"KDMV" + struct.pack("<IIQ", 1, 3, 2048),
        "vmdk of ESX": b"COWD" + struct.pack("<II", 1, 3),
        "vmdk descriptor": b"# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n" + descriptor,
        "vmdk text": b" \n# a comment\n  \r\nversion=3\n" + descriptor,
        "vdi": b"<<< QEMU VM Virtual Disk Image >>>\n".ljust(64, b"\0") + b"\x7f\x10\xda\xbe\1\0\1\0",
        "vhd": b"conectix" + struct.pack(">IIQ", 2, 0x10000, 512),
        "vhdx": b"vhdxfile" + "QEMU v7".encode("utf-16le"),
        "luks": b"LUKS\xba\xbe\0\1aes".ljust(592, b"\0"),
        "parallels": b"WithoutFreeSpace" + struct.pack("<IIIIIQ", 2, 16, 1, 63, 1, 2048),
        "parallels extended": b"WithouFreSpacExt" + struct.pack("<IIIIIQ", 2, 16, 1, 63, 1, 2048),
        "bochs": b"Bochs Virtual HD Image".ljust(32, b"\0")
        + b"Redolog".ljust(16, b"\0")
        + b"Growing".ljust(16, b"\0")
        + struct.pack("<II", 0x20000, 512),
        "cloop": b"#!/bin/sh\n#V2.0 Format\n"
        b"modprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n".ljust(128, b"\0"),
        "gzip": gzip.compress(b"another disk" * 1000, mtime=0),
        "gzip in name only": b"\x1f\x8b\x08 and then nothing of it",
        "xz": lzma.compress(b"another disk" * 1000),
        "zstd": b"\x28\xb5\x2f\xfd\x24\x00\x01\x00\x00",
        "tar": b"etc/passwd".ljust(0x101, b"\0") + b"ustar\x0000",
    }


def ordinary() -> dict[str, bytes]:
    """The start of disks of people, by name: no program takes them for anything but raw."""
    boot = bytes(446) + bytes([0x80, 1, 1, 0, 0x83]) + bytes(59) + b"\x55\xaa"
    ext4 = bytes(1024 + 56) + b"\x53\xef"
    iso = b"\x45\x52\x08\0".ljust(510, b"\0") + b"\x55\xaa"
    return {
        "zeros": bytes(512),
        "MBR": b"\xeb\x63\x90" + boot[3:],
        "GPT": boot + b"EFI PART\0\0\1\0",
        "NTFS": b"\xeb\x52\x90NTFS    ".ljust(510, b"\0") + b"\x55\xaa",
        "ext4": ext4,
        "XFS": b"XFSB\0\0\x10\0",
        "LVM": bytes(512) + b"LABELONE" + bytes(16) + b"LVM2 001",
        "LUKS2": b"LUKS\xba\xbe\0\2".ljust(512, b"\0"),
        "ISO hybrid": iso.ljust(0x8000, b"\0") + b"\1CD001\1",
        "a script": b"#!/bin/sh\necho version=1\n",
        "text": b"# a comment\nCID=1\nversion=1\n",
        "a swap area": bytes(4086) + b"SWAPSPACE2",
    }


def disk(head: bytes, size: int = SIZE) -> bytes:
    """A disk that begins with `head`: some data, a hole, and data at the very end."""
    made = bytearray(size)
    made[1 << 20 : (1 << 20) + 5000] = b"data!" * 1000
    made[-4096:] = b"end." * 1024
    made[: len(head)] = head
    return bytes(made)
