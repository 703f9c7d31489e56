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
    from ruamel.yaml.composer import Composer  # noqa: PLC0415
    from ruamel.yaml.events import AliasEvent  # noqa: PLC0415

    class WithoutAliases(Composer):
        """Refuses the first alias. A look at all events before would take a minute for a deep text."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.parser.check_event(AliasEvent):
                raise _AliasError
            return super().compose_node(parent, index)

    if aliases and MERGE in text:
        raise ValueError("merge keys are not supported")
    yaml = YAML(typ="safe", pure=True)
    if not aliases:
        yaml.Composer = WithoutAliases
    try:
        return yaml.load(text)
    except _AliasError:
        raise ValueError("aliases are not supported") from None
    except Exception as error:  # the parser also raises OverflowError, IndexError, RecursionError and others
        raise ValueError(type(error).__name__) from None


class _AliasError(Exception):
    """A part occurs in several places."""


def scalar(value: Any) -> str:
    """A text or a number as a text; "" for anything else, and for a number that is too large."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    try:
        return str(value)
    except ValueError:  # an integer with thousands of digits
        return ""
