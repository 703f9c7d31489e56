"""What a receiver would take a raw disk for, by the bytes that its guest wrote. Pure.

No object tells a receiver the format of an image: a VirtualMachineImage, a BackingImage and a DataVolume have
no field for it. Each looks at the first bytes, and a guest may write any bytes there:

    Longhorn   backing-image-manager pkg/util/util.go and pkg/sync/sync_file.go, longhorn-engine
               pkg/backingfile/backingfile.go: `qemu-img info` without a format. The engine opens "raw" and
               "qcow2", and refuses every other format when the volume is attached.
    Harvester  pkg/image/cdi/common.go, fetchImageVirtualSize: a disk with qcow2's magic has the size that
               its header gives.
    CDI        pkg/image/filefmt.go and pkg/importer/format-readers.go: magics in the first 512 bytes; gzip,
               xz and zstd are unpacked. Then `qemu-img info` and `convert` without a format, and on a
               volume with a filesystem `qemu-img info` of the result as well (pkg/importer/data-processor.go,
               resize).
    qemu-img   block.c, find_image_format: the probe functions of block/*.c see 512 bytes.

(backing-image-manager 639c644, longhorn-engine 5939910, harvester v1.8.2, containerized-data-importer v1.64.0
and c07cdb6, QEMU 7.2.) None of them looks at the end of a disk: the footer of a VHD changes nothing. None
looks for an ISO 9660 filesystem.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

HEAD_BYTES: Final = 512
"""Bytes that every receiver looks at: QEMU's BLOCK_PROBE_BUF_SIZE and CDI's MaxExpectedHdrSize."""


class Magic(NamedTuple):
    """Bytes at an offset by which a program recognizes a format."""

    format: str
    """QEMU's name of the format, or CDI's."""
    magic: bytes
    offset: int = 0
    by_qemu: bool = True
    """Whether qemu-img recognizes it. CDI alone recognizes the others, and only while it downloads."""


_MAGICS: Final = (
    Magic("qcow2", b"QFI\xfb"),  # block/qcow2.c; block/qcow.c has the same magic and another version
    Magic("qed", b"QED\0"),  # block/qed.h
    Magic("vmdk", b"KDMV"),  # block/vmdk.c, VMDK4_MAGIC
    Magic("vmdk", b"COWD"),  # block/vmdk.c, VMDK3_MAGIC
    Magic("vdi", b"\x7f\x10\xda\xbe", 0x40),  # block/vdi.c, VDI_SIGNATURE
    Magic("vpc", b"conectix"),  # block/vpc.c
    Magic("vhdx", b"vhdxfile"),  # block/vhdx.h
    Magic("luks", b"LUKS\xba\xbe\0\1"),  # crypto/block-luks.c: version 1 only, a LUKS2 disk is raw
    Magic("parallels", b"WithoutFreeSpace"),  # block/parallels.c
    Magic("parallels", b"WithouFreSpacExt"),
    Magic("bochs", b"Bochs Virtual HD Image"),  # block/bochs.c
    Magic("cloop", b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop"),  # block/cloop.c
    Magic("gz", b"\x1f\x8b", by_qemu=False),
    Magic("xz", b"\xfd7zXZ\0", by_qemu=False),
    Magic("zst", b"\x28\xb5\x2f\xfd", by_qemu=False),
    Magic("tar", b"ustar", 0x101, by_qemu=False),
)
_VMDK_DESCRIPTOR: Final = re.compile(rb"(?:#[^\n]*\n|[ \r\n])*version=")
"""block/vmdk.c, vmdk_probe: comments and blank lines, then the version."""


class Guess(NamedTuple):
    """What a receiver would take a disk for."""

    format: str
    by_qemu: bool


def guess(head: bytes) -> Guess | None:
    """What a receiver would take a raw disk for that begins with `head`; None for a raw disk.

    `head` has `HEAD_BYTES`, or fewer if the disk is shorter.
    """
    for row in _MAGICS:
        if head.startswith(row.magic, row.offset):
            return Guess(row.format, row.by_qemu)
    return Guess("vmdk", by_qemu=True) if _VMDK_DESCRIPTOR.match(head[:HEAD_BYTES]) else None
