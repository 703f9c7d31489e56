"""Formats sizes for people. Pure."""

from __future__ import annotations


def size(count: float) -> str:
    """Bytes with a binary unit and three digits: `1.46 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 999.5:  # beyond it three digits would be rounded to four
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB" if count < 999.5 else f"{count:.0f} TiB"
