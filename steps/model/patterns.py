"""Patterns with wildcards that select VMs by name, inventory path or id, folder and tag. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from fnmatch import translate
from functools import lru_cache

from steps.model.machine import Machine, Tag
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


def fits_vm(patterns: Iterable[str]) -> Callable[[Machine], bool]:
    """A test whether a pattern fits the name or the path of a VM, or is its id.

    Wildcards do not count for ids: VMs of vSphere have ids such as vm-42, so `vm-*` would select them all.
    """
    exact = frozenset(patterns)
    fits = matcher(exact)
    return lambda machine: machine.source_id in exact or fits((machine.name, machine.path))


def in_folder(patterns: Iterable[str]) -> Callable[[Machine], bool]:
    """A test whether a pattern fits the folder of a VM or a folder above it."""
    fits = matcher(pattern.rstrip("/") or "/" for pattern in patterns)
    return lambda machine: fits(folders_of(machine))


def has_tags(patterns: Iterable[str]) -> Callable[[Machine], bool]:
    """A test whether each pattern fits a tag of a VM, as NAME or CATEGORY:NAME."""
    tests = [matcher([pattern]) for pattern in patterns]
    return lambda machine: all(any(map(fits, map(_names_of_tag, machine.tags))) for fits in tests)


def _names_of_tag(tag: Tag) -> tuple[str, str]:
    return (tag.value if tag.has_category else tag.name), str(tag)


def folders_of(machine: Machine) -> tuple[str, ...]:
    """The folders that contain a VM, directly or not, by their paths and as an import names them.

    `/DC0/vm/prod/web` and `prod/web` are the same folder of vSphere. `/` contains every VM.
    """
    above = machine.path.rpartition("/")[0]
    below = above.partition("/vm/")[2]
    return tuple(dict.fromkeys((*_ancestors(above), *_ancestors(below), "/")))


def _ancestors(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def unused(patterns: Collection[str], machines: Iterable[Machine]) -> tuple[str, ...]:
    """The patterns that fit none of the VMs, in their order: they may be misspelt."""
    left = {pattern: fits_vm([pattern]) for pattern in patterns}
    for machine in machines:
        if not left:
            break
        left = {pattern: fits for pattern, fits in left.items() if not fits(machine)}
    return tuple(left)
