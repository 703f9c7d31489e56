"""What an import leaves at its source: the result `left` of `release-source`. Pure.

It is a JSON list of short texts, empty if nothing is left. Its first text starts with `NOT_ASKED` if the
source could not be asked, so that it is not known what is left.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

LEFT: Final = "left.json"
"""The file among the outputs."""
NOT_ASKED: Final = "not asked: "
MOST: Final = 20
"""Texts in the list."""
LONGEST: Final = 300
"""Characters of a text."""


@dataclass(frozen=True)
class Leftovers:
    """What is left at a source, as far as it is known."""

    texts: tuple[str, ...] = ()
    is_known: bool = True
    """Whether the source could be asked."""

    @property
    def is_clean(self) -> bool:
        """Whether it is certain that nothing is left."""
        return self.is_known and not self.texts


def to_output(left: Iterable[str]) -> str:
    """The result for the texts of a source, which may be long, many, and contain anything."""
    texts = [_short(text) for text in left]
    more = [f"and {len(texts) - MOST} more"] if len(texts) > MOST else []
    return json.dumps([*texts[:MOST], *more])


def not_asked(why: str) -> str:
    """The result when the source could not be asked."""
    return json.dumps([_short(f"{NOT_ASKED}{why}")])


def from_output(text: str) -> Leftovers:
    """The leftovers in a result; unknown for anything that `to_output` does not make."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return Leftovers(is_known=False)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        return Leftovers(is_known=False)
    texts = tuple(_short(one) for one in found[: MOST + 1])
    return Leftovers(texts, is_known=not any(one.startswith(NOT_ASKED) for one in texts))


def _short(text: str) -> str:
    """One line without control characters: it becomes part of a status, and of what a terminal shows."""
    words = " ".join(text.split())
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in words)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


NOTHING_REPORTED: Final = not_asked("the step reported nothing")
"""The result of a step that wrote none."""
