"""Patterns with wildcards that select VMs by name, inventory path or id. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from fnmatch import translate
from functools import lru_cache

from steps.model.machine import Machine
from steps.model.wildcards import has_wildcard


def matcher(patterns: Iterable[str]) -> Callable[[Iterable[str]], bool]:
    """A test whether a pattern fits one of some texts, as a whole and with its case.

    A text that equals a pattern always fits, because a VM may have `[` or `*` in its name.
    """
    exact = frozenset(patterns)
    wild = [_compiled(pattern) for pattern in exact if has_wildcard(pattern)]
    return lambda texts: any(
        text in exact or any(expression.fullmatch(text) for expression in wild) for text in texts
    )


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    """`fnmatch.translate` writes an expression that needs no backtracking between its stars."""
    return re.compile(translate(pattern))


def names_of(machine: Machine) -> tuple[str, ...]:
    """By what a person names a VM: its name, its path, its id."""
    return machine.name, machine.path, machine.source_id


def fits_vm(patterns: Iterable[str]) -> Callable[[Machine], bool]:
    """A test whether a pattern fits a VM by one of its names."""
    fits = matcher(patterns)
    return lambda machine: fits(names_of(machine))


def unused(patterns: Collection[str], machines: Iterable[Machine]) -> tuple[str, ...]:
    """The patterns that fit none of the VMs, in their order: they may be misspelt."""
    left = {pattern: fits_vm([pattern]) for pattern in patterns}
    for machine in machines:
        if not left:
            break
        left = {pattern: fits for pattern, fits in left.items() if not fits(machine)}
    return tuple(left)
