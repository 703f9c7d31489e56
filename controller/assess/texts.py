"""Text from a source, made safe to show: people with rights at the source choose it. Pure."""

from __future__ import annotations

import re
from typing import Final

from steps.model.printable import escaped

LONGEST: Final = 300
"""Characters of a text in a report; names of VMs have at most 80 in vSphere."""


def visible(text: str, longest: int = LONGEST) -> str:
    """One line without control characters, and without those that change the direction of the text.

    They appear as escapes: an ESC would command the terminal, and U+202E makes `gpj.exe` look like an image.
    """
    cut = text if len(text) <= longest else f"{text[:longest]}…"
    return escaped(cut)


def code_span(text: str) -> str:
    """The text as a code span of Markdown, in which neither markup nor HTML nor a link has a meaning.

    The fence is longer than any in the text (CommonMark, "Code spans"). A table needs `|` escaped even there
    (GFM, "Tables").
    """
    shown = re.sub(r"(\\*)\|", _escaped_bar, visible(text))
    if not shown.strip():
        return f"` {shown} `" if shown else ""
    longest = max((len(run) for run in _runs(shown)), default=0)
    fence = "`" * (longest + 1)
    space = " " if shown[0] == "`" or shown[-1] == "`" else ""
    return f"{fence}{space}{shown}{space}{fence}"


def _escaped_bar(found: re.Match[str]) -> str:
    """A bar behind an odd number of backslashes: pairs of them are characters of their own in a table."""
    before = found[1]
    return before + ("\\" if len(before) % 2 == 0 else "\\\\") + "|"


def _runs(text: str) -> list[str]:
    """The sequences of backticks in a text."""
    return "".join(letter if letter == "`" else " " for letter in text).split()
