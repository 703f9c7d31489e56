"""Foreign text that somebody will see: nothing in it may command a terminal or turn its direction. Pure."""

from __future__ import annotations

from typing import Final

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


def printable(text: str, instead: str = REPLACEMENT) -> str:
    """The text with `instead` for each character that is not printable, also for the end of a line."""
    return "".join(char if char.isprintable() else instead for char in text)


def escaped(text: str) -> str:
    r"""The text with an escape for each character that is not printable, such as `\x1b` or `\u202e`."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(char: str) -> str:
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
