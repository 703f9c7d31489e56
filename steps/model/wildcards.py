"""Wildcards in names of VMs: the command line takes them, an import names one VM. Pure."""

from __future__ import annotations

from typing import Final

WILDCARDS: Final = "*?["
"""`*` fits any text, also with `/`; `?` one character; `[ab]` one of these, `[!ab]` none of them."""


def has_wildcard(pattern: str) -> bool:
    """Whether a pattern can fit more than one text."""
    return any(letter in pattern for letter in WILDCARDS)


def remedy(name: str, otherwise: str) -> str:
    """What to do when there is no VM with that name: a person may have meant a pattern."""
    if not has_wildcard(name):
        return otherwise
    return "an import names one VM; for several use `vmferry run --vm` or `vmferry inventory --name`"
