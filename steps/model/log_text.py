"""A document as short text that passes through a log or a parameter: compressed, then base64. Pure.

Both sides have bounds, because the writer may have parsed foreign bytes: a reader must not use more memory
than a document can need.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from typing import Final

from steps.model.contract import Exit, StepError

LARGEST: Final = 4 << 20
"""Bytes of a document before it is packed. A VM of 256 disks takes about 100 KiB."""
LARGEST_PACKED: Final = 256 << 10
"""Characters of a packed document."""
LINE: Final = 4096
"""Characters of the document in one line of a log. Container runtimes split lines of 16 KiB."""
MOST_LINES: Final = LARGEST_PACKED // LINE
_MARK: Final = "vmferry-document"
_LINE: Final = re.compile(rf"{_MARK} ([0-9]{{1,3}})/([0-9]{{1,3}}) ([A-Za-z0-9+/=]{{1,{LINE}}})", re.ASCII)


class PackedDocumentError(StepError):
    """Text that is not a packed document, or a document that is too large."""


def pack(text: str) -> str:
    """The document as one line of ASCII characters; the same for the same text.

    Raises:
        PackedDocumentError: UNSUPPORTED, if the document exceeds a bound.
    """
    data = text.encode()
    packed = base64.b64encode(zlib.compress(data, 9)).decode() if len(data) <= LARGEST else ""
    if not packed or len(packed) > LARGEST_PACKED:
        raise PackedDocumentError(
            Exit.UNSUPPORTED,
            "the description of the VM is too large",
            f"it has {len(data)} bytes, and {len(packed) or 'more'} characters when it is packed",
            f"vmferry passes on at most {LARGEST} bytes and {LARGEST_PACKED} characters",
        )
    return packed


def unpack(packed: str) -> str:
    """The document.

    Raises:
        PackedDocumentError: CORRUPT, if this is not a packed document or it exceeds a bound.
    """
    if len(packed) > LARGEST_PACKED:
        raise _corrupt(f"it has more than {LARGEST_PACKED} characters")
    reader = zlib.decompressobj()
    try:
        data = reader.decompress(base64.b64decode(packed, validate=True), LARGEST + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise _corrupt(str(error)) from None
    if len(data) > LARGEST:
        raise _corrupt(f"it has more than {LARGEST} bytes")
    if not reader.eof or reader.unused_data:
        raise _corrupt("its end is missing" if not reader.eof else "something follows its end")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise _corrupt(str(error)) from None


def to_lines(packed: str) -> list[str]:
    """The lines of a log that hold a packed document."""
    parts = [packed[start : start + LINE] for start in range(0, len(packed), LINE)]
    return [f"{_MARK} {number}/{len(parts)} {part}" for number, part in enumerate(parts, start=1)]


def from_lines(log: str) -> str:
    """The last packed document in a log; other lines may stand before, between and after its lines.

    Raises:
        PackedDocumentError: CORRUPT, if there is none, or if a line of it is missing.
    """
    found = [match for line in log.splitlines() if (match := _LINE.fullmatch(line.strip()))]
    if not found:
        raise _corrupt("the log does not contain it")
    count = int(found[-1][2])
    parts = {int(match[1]): match[3] for match in found if int(match[2]) == count}
    if not 1 <= count <= MOST_LINES or sorted(parts) != list(range(1, count + 1)):
        raise _corrupt(f"the log does not contain all of its {count} lines")
    return "".join(parts[number] for number in range(1, count + 1))


def _corrupt(why: str) -> PackedDocumentError:
    return PackedDocumentError(Exit.CORRUPT, "the description of the VM cannot be read", why)
