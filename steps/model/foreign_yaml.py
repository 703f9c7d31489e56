"""Reads YAML that a stranger wrote: a tenant, a guest, a source. Pure.

A few lines with aliases and merge keys become any number of entries. Callers bound the length of the text,
and the number of its brackets: the time of the parser grows with the square of their depth.
"""

from __future__ import annotations

from typing import Any, Final

MERGE: Final = "<<"
"""YAML's merge key."""


def load(text: str, *, aliases: bool = False) -> Any:
    """The document. Integers in it may be of any size, so not each can become a text.

    Args:
        text: of one document.
        aliases: whether a part may occur in several places. Then `MERGE` is refused. Such a document is small
            in memory, but a text of it may have any length.

    Raises:
        ValueError: with the reason, as the words in a bracket.
    """
    from ruamel.yaml import YAML  # noqa: PLC0415 - few imports need a parser
    from ruamel.yaml.events import AliasEvent  # noqa: PLC0415

    if aliases and MERGE in text:
        raise ValueError("merge keys are not supported")
    try:
        has_alias = not aliases and any(
            isinstance(event, AliasEvent) for event in YAML(typ="safe", pure=True).parse(text)
        )
        found = None if has_alias else YAML(typ="safe", pure=True).load(text)
    except Exception as error:  # the parser also raises OverflowError, IndexError, RecursionError and others
        raise ValueError(type(error).__name__) from None
    if has_alias:
        raise ValueError("aliases are not supported")
    return found


def scalar(value: Any) -> str:
    """A text or a number as a text; "" for anything else, and for a number that is too large."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    try:
        return str(value)
    except ValueError:  # an integer with thousands of digits
        return ""
