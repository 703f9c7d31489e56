"""Amounts of bytes as Kubernetes writes them: `100Gi`, `1073741824`, `1.5T`. Pure."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final

_FORM: Final = re.compile(
    r"([0-9]{1,30}(?:\.[0-9]{1,30})?)(?:(Ki|Mi|Gi|Ti|Pi|Ei|k|M|G|T|P|E)|[eE]([0-9]{1,2}))?"
)
_POWERS: Final = {unit: power for power, unit in enumerate("kMGTPE", 1)}
_SHOWN: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def to_bytes(text: str) -> int:
    """The bytes of a quantity; a part of a byte counts as one.

    Raises:
        ValueError: it is not a quantity of bytes.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a quantity of bytes such as 500Gi")
    unit = match[2] or ""
    factor = Decimal(10) ** int(match[3] or 0)
    if unit:
        factor = Decimal(1024 if unit.endswith("i") else 1000) ** _POWERS[unit[0].replace("K", "k")]
    return math.ceil(Decimal(match[1]) * factor)


def shown(count: int) -> str:
    """Bytes for a person, with a binary unit: `64Ti`, `1.5Gi`."""
    power = min(max(count.bit_length() - 1, 0) // 10, len(_SHOWN) - 1)
    return f"{count / 1024**power:.4g}{_SHOWN[power]}"
