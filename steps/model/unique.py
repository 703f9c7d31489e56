"""Indexes of things in foreign documents by identifier: a later one never replaces an earlier one.

Every reader of such a document calls `index`. If two different things have one identifier, it is not clear
which of them is meant: looking that identifier up fails. An identifier that is never looked up does no harm.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Final, Generic, TypeVar

from steps.model.contract import Exit, StepError

MOST_COMPARED: Final = 8
"""Different things with one identifier that are compared with the next one: a document may have thousands."""
K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Index(Generic[K, T]):
    """Things in their order, and by identifier. Made by `index`."""

    def __init__(self, groups: dict[K, list[T]], things: list[T], what: str, where: str, remedy: str) -> None:
        self._groups = groups
        self._things = things
        self._what = what
        self._where = where
        self._remedy = remedy

    def __iter__(self) -> Iterator[T]:
        """All of them in their order, those without an identifier too."""
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)

    def __contains__(self, key: K) -> bool:
        """Whether anything has the identifier."""
        return key in self._groups

    def find(self, key: K) -> T | None:
        """The one thing with that identifier, or None.

        Raises:
            StepError: AMBIGUOUS, when different things have it.
        """
        found = self._groups.get(key, [])
        if len(found) > 1:
            raise self._ambiguous(key, len(found))
        return found[0] if found else None

    def certain(self, key: K) -> T | None:
        """As `find`, but None when different things have the identifier."""
        found = self._groups.get(key, [])
        return found[0] if len(found) == 1 else None

    def check(self) -> None:
        """Prove that every identifier is unique. Raises StepError: AMBIGUOUS."""
        for key in self._groups:
            self.find(key)

    def _ambiguous(self, key: K, count: int) -> StepError:
        counted = f"{count} or more" if count >= MOST_COMPARED else str(count)
        return StepError(
            Exit.AMBIGUOUS,
            f"{self._where} has {counted} different {self._what} {str(key)!r}",
            "it is not clear which one is meant",
            self._remedy,
        )


def same_object(_one: Any, _other: Any) -> bool:
    """For identifiers that a service assigns (UUIDs): the same one means the same object, listed again."""
    return True


def index(
    things: Iterable[T],
    key: Callable[[T], K],
    *,
    what: str,
    where: str,
    alike: Callable[[T, T], bool] = operator.eq,
    remedy: str = "give each its own identifier at the source",
) -> Index[K, T]:
    """Make an index of `things`.

    Args:
        things: in the document's order. One that is `alike` an earlier one with the same identifier is the
            same thing, listed again: it is kept once. An identifier of many different things is ambiguous
            anyway: only the first `MOST_COMPARED` of them are compared.
        key: the identifier; an empty one means none.
        what: the things and their identifier for errors, in the plural: "disks with the diskId".
        where: the document, for errors.
        alike: whether two things with one identifier are the same thing.
        remedy: what a person can do if they are not.
    """
    groups: dict[K, list[T]] = {}
    kept: list[T] = []
    for thing in things:
        name = key(thing)
        if name in ("", None):
            kept.append(thing)
            continue
        before = groups.setdefault(name, [])
        if any(alike(thing, other) for other in before):
            continue
        kept.append(thing)
        if len(before) < MOST_COMPARED:
            before.append(thing)
    return Index(groups, kept, what, where, remedy)
