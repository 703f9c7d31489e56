"""Which check may have a pod now: limits for the installation, a namespace and an account. Pure.

Only the order of checks is kept here. A controller that starts again learns from the pods which checks run,
and each source that is due asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from controller.operator.checkpods.check import Owner

SUSPECT: Final = 2
"""So many checks of a namespace must fail in a row, until its other checks wait behind those of others."""
MOST_NAMESPACES: Final = 1000
"""Namespaces with failures that are remembered; then the oldest are forgotten."""


@dataclass(frozen=True)
class Wish:
    """A check that wants to run."""

    owner: Owner
    account: str = ""
    has_failed: bool = False


@dataclass
class _Entry:
    wish: Wish
    since: float


class Slots:
    """The checks that run and those that wait.

    Namespaces take turns. A check that will probably fail waits behind the others: the last check of its
    owner has failed, or the last ones of its namespace. So sources that do not answer cannot hold up new
    ones, however many they are. One slot is kept for the checks behind, so that they proceed, too.
    """

    def __init__(self, at_once: int, at_once_per_namespace: int, clock: Callable[[], float]) -> None:
        self._at_once = at_once
        self._per_namespace = at_once_per_namespace
        self._clock = clock
        self._held: dict[Owner, _Entry] = {}
        self._waiting: dict[str, dict[Owner, _Entry]] = {}
        """By namespace; the namespace whose turn is next comes first."""
        self._failures: dict[str, int] = {}
        """By namespace: the checks that have failed since the last one that succeeded."""

    def request(self, wish: Wish) -> list[Owner]:
        """Let a check wait for its turn; returns the owners whose turn has come by that."""
        if wish.owner in self._held:
            return []
        waiting = self._waiting.setdefault(wish.owner.namespace, {})
        known = waiting.get(wish.owner)
        waiting[wish.owner] = _Entry(wish, known.since if known else self._clock())
        return list(self._grant())

    def adopt(self, wish: Wish) -> None:
        """Count a check that runs already, whatever the limits are."""
        self._stop_waiting(wish.owner)
        self._held.setdefault(wish.owner, _Entry(wish, self._clock()))

    def release(self, owner: Owner) -> list[Owner]:
        """Forget a check; returns the owners whose turn has come by that."""
        self._stop_waiting(owner)
        self._held.pop(owner, None)
        return list(self._grant())

    def note(self, namespace: str, *, failed: bool) -> None:
        """Remember how a check of a namespace has ended."""
        failures = self._failures.pop(namespace, 0)
        if failed:
            self._failures[namespace] = failures + 1
            if len(self._failures) > MOST_NAMESPACES:
                del self._failures[next(iter(self._failures))]

    def holds(self, owner: Owner) -> bool:
        return owner in self._held

    def waits(self, owner: Owner) -> bool:
        return owner in self._waiting.get(owner.namespace, {})

    def held(self) -> dict[Owner, float]:
        """The owners with a slot, and for how many seconds they have had it."""
        now = self._clock()
        return {owner: now - entry.since for owner, entry in self._held.items()}

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    def oldest_seconds(self) -> float:
        """How long the check that has waited longest has waited; 0 if none waits."""
        since = [entry.since for entries in self._waiting.values() for entry in entries.values()]
        return self._clock() - min(since) if since else 0.0

    def _stop_waiting(self, owner: Owner) -> None:
        entries = self._waiting.get(owner.namespace, {})
        entries.pop(owner, None)
        if not entries:
            self._waiting.pop(owner.namespace, None)

    def _grant(self) -> Iterator[Owner]:
        while (entry := self._next()) is not None:
            owner = entry.wish.owner
            left = self._waiting.pop(owner.namespace)
            del left[owner]
            if left:
                self._waiting[owner.namespace] = left  # at the end: the other namespaces come first
            self._held[owner] = _Entry(entry.wish, self._clock())
            yield owner

    def _next(self) -> _Entry | None:
        if len(self._held) >= self._at_once:
            return None
        for behind in (False, True):
            if self._count(behind=behind) >= self._most(behind=behind):
                continue
            for namespace in self._waiting:
                entry = self._first(namespace, behind=behind)
                if entry is not None:
                    return entry
        return None

    def _most(self, *, behind: bool) -> int:
        return max(1, self._at_once // 2 if behind else self._at_once - 1)

    def _count(self, *, behind: bool) -> int:
        return sum(self._is_behind(entry.wish) == behind for entry in self._held.values())

    def _is_behind(self, wish: Wish) -> bool:
        return wish.has_failed or self._failures.get(wish.owner.namespace, 0) >= SUSPECT

    def _first(self, namespace: str, *, behind: bool) -> _Entry | None:
        if sum(owner.namespace == namespace for owner in self._held) >= self._per_namespace:
            return None
        accounts = {entry.wish.account for entry in self._held.values()} - {""}
        return next(
            (
                entry
                for entry in self._waiting[namespace].values()
                if self._is_behind(entry.wish) == behind and entry.wish.account not in accounts
            ),
            None,
        )
