"""zlib, from ISA-L where it is installed (half the CPU time per byte), else from the standard library."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    codec = zlib
else:
    try:
        from isal import isal_zlib as codec
    except ImportError:
        codec = zlib

NAME = codec.__name__
crc32 = codec.crc32


class Damaged(Exception):  # noqa: N818 - says what the data is
    """The bytes are no whole zlib stream, their Adler-32 is wrong, or they hold more than they may."""


def inflate(data: memoryview, limit: int) -> bytes:
    """The content of one zlib stream, at most `limit` bytes; its Adler-32 has been compared.

    Raises:
        Damaged: also when there is more content: no more than `limit` + 1 bytes are ever made.
    """
    inflater = codec.decompressobj()
    try:
        block: bytes = inflater.decompress(data, limit + 1)
    except (codec.error, zlib.error) as error:
        raise Damaged(str(error)) from None
    if not inflater.eof or len(block) > limit:
        raise Damaged(f"holds more than {limit} bytes" if len(block) > limit else "ends early")
    return block
