"""zlib streams inflated: by libdeflate where it is installed (0.4 of zlib's CPU time), else by zlib."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable
from typing import Final

from steps.disk.sink import Block

try:
    import deflate
except ImportError:
    deflate = None  # type: ignore[assignment]

NAME: Final = "zlib" if deflate is None else "libdeflate"
crc32: Callable[[memoryview, int], int] = zlib.crc32 if deflate is None else deflate.crc32


class DamagedError(Exception):
    """The bytes are not a complete zlib stream, their Adler-32 is wrong, or their content is too large."""


def inflate(data: memoryview, limit: int) -> Block:
    """The content of one zlib stream, at most `limit` bytes; its Adler-32 has been compared.

    Raises:
        DamagedError: also if there is more content: at most `limit` + 1 bytes are produced.
    """
    if deflate is not None:
        with contextlib.suppress(deflate.DeflateError):  # without a reason: zlib reports it
            return deflate.zlib_decompress(data, limit)
    inflater = zlib.decompressobj()
    try:
        block = inflater.decompress(data, limit + 1)
    except zlib.error as error:
        raise DamagedError(str(error)) from None
    if not inflater.eof or len(block) > limit:
        raise DamagedError(f"holds more than {limit} bytes" if len(block) > limit else "ends early")
    return block
