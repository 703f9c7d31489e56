"""Whether an image is a whole disk. A delta holds only the difference to its parent, but looks like a disk.

Every reader of images calls `check`: preflight for a file that is still at its source, a landing for the
first bytes of its stream, qemu-img's wrapper for a file on scratch.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from typing import Final

from steps.disk.vmdk import MAGIC, SECTOR, Header, check_descriptor
from steps.model.contract import Exit, StepError

ReadAt = Callable[[int, int], bytes]
"""Bytes of an image from an offset on, at most so many: fewer at its end, or if it cannot be read there."""

HEAD_BYTES: Final = 512
"""Bytes that suffice for all but VHDX and the descriptor of a VMDK."""

_QCOW2: Final = b"QFI\xfb"
_DATA_FILE: Final = 4
"""qcow2, incompatible features: the data are in an external file (QEMU docs/interop/qcow2.txt)."""
_VHD: Final = b"conectix"
_DIFFERENCING: Final = 4
"""VHD, "Disk Type" (Microsoft, Virtual Hard Disk Image Format Specification 1.0, Hard Disk Footer Format)."""
_DESCRIPTOR: Final = b"# Disk DescriptorFile"
_CREATE_TYPE: Final = b"createType"
_DESCRIPTOR_BYTES: Final = 32 << 10
"""Bytes of a VMDK's descriptor that are checked. QEMU reads 10 KiB (DESC_SIZE); the decoder reads all."""
_SNAPSHOTS: Final = {b"COWD": "vmfsSparse", b"\xbe\xba\xfe\xca": "seSparse"}
"""How the files of ESXi's snapshots begin: both formats exist for deltas alone (QEMU block/vmdk.c)."""

_VHDX: Final = b"vhdxfile"
_REGIONS: Final = (192 << 10, 256 << 10)
"""VHDX: where the region table and its copy are ([MS-VHDX] 2.2)."""
_REGION: Final = struct.Struct("<16sQII")
_ITEM: Final = struct.Struct("<16sIIII")
_MAX_ENTRIES: Final = 2047
"""[MS-VHDX] 2.2.3.1 and 2.6.1.1, EntryCount."""
_METADATA: Final = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le
_PARAMETERS: Final = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le
_LOCATOR: Final = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le
_VIRTUAL_SIZE: Final = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8").bytes_le
"""[MS-VHDX] 2.6.2.2, Virtual Disk Size."""
_HAS_PARENT: Final = 2


def check(image_format: str, read: ReadAt, *, size: int | None = None, name: str = "the disk") -> None:
    """Refuse an image if a part of it is in another file. Other damage is not checked.

    Args:
        image_format: the format for reading it, by QEMU's name; "auto" to detect it by the first bytes.
        read: returns the image's bytes.
        size: of the image's file, if it is known and its end can be read.
        name: of the image, for the error.

    Raises:
        StepError: UNSUPPORTED.
    """
    checks: dict[str, Callable[[ReadAt, int | None], str]] = {
        "vmdk": _vmdk,
        "qcow2": _qcow2,
        "vpc": _vhd,
        "vhdx": _vhdx,
    }
    selected = checks.values() if image_format == "auto" else filter(None, [checks.get(image_format)])
    for check_format in selected:
        why = check_format(read, size)
        if why:
            raise StepError(
                Exit.UNSUPPORTED,
                f"{name} is not a whole disk",
                why,
                "merge it with its parent (consolidate, delete the checkpoints), then export it as one file",
            )


def _vmdk(read: ReadAt, _size: int | None) -> str:
    head = read(0, SECTOR)
    if head.startswith(_DESCRIPTOR):
        return "the VMDK is only a descriptor: its data is in other files"
    snapshot = next((kind for magic, kind in _SNAPSHOTS.items() if head.startswith(magic)), "")
    if snapshot:
        return f"it is a snapshot of ESXi ({snapshot}), which holds only the difference to its parent"
    if not head.startswith(MAGIC):
        return ""
    try:
        header = Header.parse(head)
    except StepError:
        return ""
    text = read(SECTOR, min(header.descriptor_area * SECTOR, _DESCRIPTOR_BYTES))
    try:
        check_descriptor(text)
    except StepError as error:
        return error.why
    # VMware leaves the descriptor out of a piece, QEMU leaves it empty.
    has_no_descriptor = not header.descriptor or (text and _CREATE_TYPE not in text)
    is_piece = has_no_descriptor and not header.streamable
    return "the VMDK is a piece of a split one: it has no descriptor of its own" if is_piece else ""


def _qcow2(read: ReadAt, _size: int | None) -> str:
    """By the offset of a backing file's name, even if QEMU treats it as empty: others might not."""
    head = read(0, 80).ljust(80, b"\0")
    if not head.startswith(_QCOW2):
        return ""
    if any(head[8:16]):
        return "its header names a backing file, and it holds only the difference to that"
    return "its header names an external data file" if head[7] > 2 and head[79] & _DATA_FILE else ""


def _vhd(read: ReadAt, size: int | None) -> str:
    """By the footer, and by its copy at the start of all but fixed disks."""
    footers = [
        read(0, HEAD_BYTES),
        read(size - HEAD_BYTES, HEAD_BYTES) if size and size >= HEAD_BYTES else b"",
    ]
    kinds = [
        struct.unpack_from(">I", footer, 60)[0]
        for footer in footers
        if footer.startswith(_VHD) and len(footer) >= 64
    ]
    differs = _DIFFERENCING in kinds
    return "it is a differencing VHD, which holds only the difference to its parent" if differs else ""


def _vhdx(read: ReadAt, _size: int | None) -> str:
    why = "it is a differencing VHDX, which holds only the difference to its parent"
    if read(0, len(_VHDX)) != _VHDX:
        return ""
    for table in _REGIONS:
        metadata = _entry_offset(read, table, b"regi", 8, _REGION, _METADATA)
        if metadata is None:
            continue
        if _entry_offset(read, metadata, b"metadata", 10, _ITEM, _LOCATOR) is not None:
            return why
        parameters = _entry_offset(read, metadata, b"metadata", 10, _ITEM, _PARAMETERS)
        flags = read(metadata + parameters, 8) if parameters is not None else b""
        return why if len(flags) == 8 and struct.unpack_from("<I", flags, 4)[0] & _HAS_PARENT else ""
    return ""


def vhdx_size(read: ReadAt) -> int:
    """Bytes of the disk in a VHDX; 0 if they cannot be read."""
    if read(0, len(_VHDX)) != _VHDX:
        return 0
    for table in _REGIONS:
        metadata = _entry_offset(read, table, b"regi", 8, _REGION, _METADATA)
        if metadata is None:
            continue
        offset = _entry_offset(read, metadata, b"metadata", 10, _ITEM, _VIRTUAL_SIZE)
        content = read(metadata + offset, 8) if offset is not None else b""
        if len(content) == 8:
            size: int = struct.unpack("<Q", content)[0]
            return size
    return 0


def _entry_offset(
    read: ReadAt, offset: int, signature: bytes, count_at: int, entry: struct.Struct, entry_id: bytes
) -> int | None:
    """The offset that an entry in one of VHDX's tables has; None without such an entry."""
    head = read(offset, entry.size)
    if not head.startswith(signature) or len(head) < entry.size:
        return None
    (count,) = struct.unpack_from("<H", head, count_at)
    # The region table's head is 16 bytes, that of the metadata table 32.
    head_size = 16 if signature == b"regi" else 32
    table = read(offset + head_size, min(count, _MAX_ENTRIES) * entry.size)
    rows = (entry.unpack_from(table, start) for start in range(0, len(table) - entry.size + 1, entry.size))
    return next((row[1] for row in rows if row[0] == entry_id), None)
