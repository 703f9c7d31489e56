"""Files with a disk that somebody lists: their formats by name, and their checksums. Pure."""

from __future__ import annotations

import re
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

DiskFileFormat = Literal["vmdk", "qcow2", "raw", "vpc", "vhdx"]
"""By QEMU's names."""
FORMATS: Final[dict[str, DiskFileFormat]] = {
    "vmdk": "vmdk",
    "qcow2": "qcow2",
    "img": "raw",
    "raw": "raw",
    "vhd": "vpc",
    "vhdx": "vhdx",
}
"""By the ending of a file's name."""
GZIP: Final = ".gz"
DIGITS: Final = {"sha512": 128, "sha384": 96, "sha256": 64, "sha1": 40, "md5": 32}
"""Checksums that can be given, by hashlib's names, with their length in hexadecimal digits."""
_CHECKSUM: Final = re.compile(r"([a-z0-9]+):([0-9a-f]+)")


def format_by_name(name: str) -> DiskFileFormat | None:
    """The format by a file's name."""
    return FORMATS.get(name.lower().rpartition(".")[2])


def name_of(address: str) -> str:
    """The name of the file at a URL or path."""
    return unquote(urlsplit(address).path).rpartition("/")[2]


def is_gzip(address: str) -> bool:
    """Whether the file at a URL or path is compressed, by its name."""
    return name_of(address).lower().endswith(GZIP)


def format_of(address: str) -> DiskFileFormat | None:
    """The format of the file at a URL or path, by its name without `.gz`."""
    name = name_of(address)
    return format_by_name(name[: -len(GZIP)] if is_gzip(address) else name)


def is_checksum(text: str) -> bool:
    """Whether a text is a checksum: ALGORITHM:HEX."""
    match = _CHECKSUM.fullmatch(text.lower())
    return match is not None and DIGITS.get(match[1]) == len(match[2])
