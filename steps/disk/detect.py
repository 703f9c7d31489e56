"""Which decoder a stream needs."""

from __future__ import annotations

import struct
from typing import Final

from steps.disk import whole
from steps.disk.decode import Vmdk
from steps.disk.faults import corrupt
from steps.disk.plain import Plain
from steps.disk.source import SourceFormat
from steps.disk.state import State
from steps.disk.stream import Stream
from steps.disk.vmdk import MAGIC, SECTOR, Header

Decoder = Vmdk | Plain

_QCOW2: Final = b"QFI\xfb"
_VMDK_DESCRIPTOR: Final = b"# Disk DescriptorFile"
_MAGICS: Final = {
    MAGIC: "vmdk",
    _VMDK_DESCRIPTOR: "vmdk",
    _QCOW2: "qcow2",
    b"vhdxfile": "vhdx",
    b"conectix": "vpc",
}
"""First bytes of common formats that qemu-img reads, under QEMU's names."""


FORMATS: Final = frozenset({"raw", *_MAGICS.values()})
"""All formats that can land."""


def decoder_of(stream: Stream, wanted: SourceFormat) -> Decoder:
    """The decoder for a stream at its first byte.

    Raises:
        StepError: CORRUPT, if the stream has another format; UNSUPPORTED, if it is not a whole disk.
    """
    head = stream.peek(SECTOR)
    format = magic_of(head) if wanted == "auto" else wanted  # noqa: A001
    whole.check(format, lambda offset, count: head[offset : offset + count])
    if format == "vmdk":
        return _vmdk(stream, head)
    if format == "qcow2":
        return Plain(stream, format, _qcow2_size(head))
    if format == "vhdx" and magic_of(head) != format:
        raise corrupt("the source is not a VHDX image", f"it begins with {head[:8]!r}")
    return Plain(stream, format)


def resumed(stream: Stream, state: State) -> Decoder:
    """The decoder of a state. Raises any error for a memory that no decoder wrote."""
    if state.kind == Vmdk.kind:
        return Vmdk(stream, state.decoder)
    format, size = state.decoder["format"], state.decoder["size"]  # noqa: A001
    if format not in FORMATS:
        raise ValueError("no format")
    return Plain(stream, format, None if size is None else int(size))


def magic_of(head: bytes) -> str:
    """QEMU's name of the format that begins with `head`; without a magic it is raw."""
    return next((name for magic, name in _MAGICS.items() if head.startswith(magic)), "raw")


def _vmdk(stream: Stream, head: bytes) -> Decoder:
    header = Header.parse(head)
    return Vmdk(stream) if header.streamable else Plain(stream, "vmdk", header.size)


def _qcow2_size(head: bytes) -> int:
    if not head.startswith(_QCOW2) or len(head) < 32:
        raise corrupt("the source is not a qcow2 image", f"it begins with {head[:4]!r}")
    size: int = struct.unpack_from(">Q", head, 24)[0]
    return size
