"""Which decoder a stream needs."""

from __future__ import annotations

import struct
from typing import Final

from steps.disk import self_contained
from steps.disk.faults import corruption_fault
from steps.disk.plain_decoder import PlainDecoder
from steps.disk.source import SourceFormat
from steps.disk.state import LandingState
from steps.disk.stream import Stream
from steps.disk.vmdk import MAGIC, SECTOR, Header
from steps.disk.vmdk_decoder import VmdkDecoder

Decoder = VmdkDecoder | PlainDecoder

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


def decoder_for(stream: Stream, source_format: SourceFormat) -> Decoder:
    """The decoder for a stream at its first byte.

    Raises:
        StepError: CORRUPT, if the stream has another format; UNSUPPORTED, if it is not a whole disk.
    """
    head = stream.peek(SECTOR)
    format = detect_format(head) if source_format == "auto" else source_format  # noqa: A001
    self_contained.check(format, lambda offset, count: head[offset : offset + count])
    if format == "vmdk":
        return _vmdk(stream, head)
    if format == "qcow2":
        return PlainDecoder(stream, format, _qcow2_size(head))
    if format == "vhdx" and detect_format(head) != format:
        raise corruption_fault("the source is not a VHDX image", "it does not have its signature")
    return PlainDecoder(stream, format)


def resume_decoder(stream: Stream, state: LandingState) -> Decoder:
    """The decoder of a state. Raises any error for a state that no decoder wrote."""
    if state.kind == VmdkDecoder.kind:
        return VmdkDecoder(stream, state.decoder)
    format, size = state.decoder["format"], state.decoder["size"]  # noqa: A001
    if format not in FORMATS:
        raise ValueError("no format")
    return PlainDecoder(stream, format, None if size is None else int(size))


def detect_format(head: bytes) -> str:
    """QEMU's name of the format that begins with `head`; without a magic it is raw."""
    return next((name for magic, name in _MAGICS.items() if head.startswith(magic)), "raw")


def _vmdk(stream: Stream, head: bytes) -> Decoder:
    header = Header.parse(head)
    return VmdkDecoder(stream) if header.streamable else PlainDecoder(stream, "vmdk", header.size)


def _qcow2_size(head: bytes) -> int:
    if not head.startswith(_QCOW2) or len(head) < 32:
        raise corruption_fault("the source is not a qcow2 image", "it does not have its signature")
    size: int = struct.unpack_from(">Q", head, 24)[0]
    return size - size % SECTOR  # as QEMU
