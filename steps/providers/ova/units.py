"""Numbers with units as descriptors have them: `byte * 2^20` (DMTF DSP0004, annex C), MegaBytes, GB."""

from __future__ import annotations

import re
from typing import Final

_WORDS: Final = {
    "byte": 1,
    "bytes": 1,
    "kilobytes": 1 << 10,
    "kb": 1 << 10,
    "kib": 1 << 10,
    "megabytes": 1 << 20,
    "mb": 1 << 20,
    "mib": 1 << 20,
    "gigabytes": 1 << 30,
    "gb": 1 << 30,
    "gib": 1 << 30,
    "terabytes": 1 << 40,
    "tb": 1 << 40,
    "tib": 1 << 40,
}
"""Older writers' units; all of them mean powers of two."""
_FACTOR: Final = re.compile(r"(\d{1,5})(?:\^(\d{1,3}))?")
_LARGEST: Final = 1 << 60
_SHOWN: Final = 60
"""Characters."""
_NUMBER: Final = re.compile(r"\+?\d{1,20}")


def shorten(text: str) -> str:
    """An untrusted text, shortened for an error of one line."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def parse_number(text: str) -> int:
    """A whole number of decimal digits.

    Raises:
        ValueError: it is not one.
    """
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError(f"{shorten(text)!r} is not a number")
    return int(text)


def bytes_per_unit(units: str) -> int:
    """Bytes in one unit.

    Raises:
        ValueError: it is not a unit of bytes.
    """
    word, *factors = (part.strip() for part in units.lower().split("*"))
    if word not in _WORDS or (factors and _WORDS[word] != 1):
        raise ValueError(f"{shorten(units)!r} is not a unit of bytes")
    bytes_per_unit = _WORDS[word]
    for text in factors:
        match = _FACTOR.fullmatch(text.replace(" ", ""))
        if match is None or int(match[2] or 1) > 60:
            raise ValueError(f"{shorten(units)!r} is not a unit of bytes")
        bytes_per_unit *= int(match[1]) ** int(match[2] or 1)
        if not 0 < bytes_per_unit <= _LARGEST:
            raise ValueError(f"{shorten(units)!r} is too large")
    return bytes_per_unit


def parse_size(quantity: str, units: str) -> int:
    """Bytes. Without units they are bytes (DSP0243, DiskSection). Raises ValueError."""
    return parse_number(quantity) * bytes_per_unit(units or "byte")
