"""What an import has left at its source, as the output of the step `release-source`. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from steps.model.printable import printable

OUTPUT: Final = "left"
"""The output's name, and the name of its file."""
MOST: Final = 20
"""Most entries; for more leftovers the last entry counts the rest."""
LONGEST: Final = 300
"""Most characters of one: it may quote the source."""


def to_text(left: Sequence[str] | None) -> str:
    """The output: a JSON list of short texts, `null` if the source could not be asked.

    Braces are escaped, because Argo replaces `{{…}}` in documents.
    """
    return json.dumps(None if left is None else list(_shortened(left))).replace("{", "\\u007b")


def from_text(text: str) -> tuple[str, ...] | None:
    """What is left; None for any other text, such as that of a step that ended without an output."""
    try:
        left = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(left, list) or not all(isinstance(one, str) for one in left):
        return None
    return _shortened(left)


def _shortened(left: Sequence[str]) -> tuple[str, ...]:
    shown = left if len(left) <= MOST else [*left[: MOST - 1], f"and {len(left) - MOST + 1} more"]
    return tuple(_printable(one) for one in shown)


def _printable(text: str) -> str:
    """One line that cannot control a terminal."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
