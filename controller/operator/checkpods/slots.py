"""Which check may have a pod now: limits for the installation, a namespace and an account. Pure.

Only the order of checks is kept here. A controller that starts again learns from the pods which checks run,
and each source that is due asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from controller.operator.checkpods.check import Owner


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

    Namespaces take turns. A check whose owner has not failed goes before one whose owner has: whoever does
    not answer cannot hold up new sources. One slot is kept from each of both, so that both proceed.
    """

    def __init__(self, at_once: int, at_once_per_namespace: int, clock: Callable[[], float]) -> None:
        self._at_once = at_once
        self._per_namespace = at_once_per_namespace
        self._clock = clock
        self._held: dict[Owner, _Entry] = {}
        self._waiting: dict[str, dict[Owner, _Entry]] = {}
        """By namespace; the namespace whose turn is next comes first."""

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
        for has_failed in (False, True):
            if self._count(has_failed=has_failed) >= self._most(has_failed=has_failed):
                continue
            for namespace in self._waiting:
                entry = self._first(namespace, has_failed=has_failed)
                if entry is not None:
                    return entry
        return None

    def _most(self, *, has_failed: bool) -> int:
        return max(1, self._at_once // 2 if has_failed else self._at_once - 1)

    def _count(self, *, has_failed: bool) -> int:
        return sum(entry.wish.has_failed == has_failed for entry in self._held.values())

    def _first(self, namespace: str, *, has_failed: bool) -> _Entry | None:
        if sum(owner.namespace == namespace for owner in self._held) >= self._per_namespace:
            return None
        accounts = {entry.wish.account for entry in self._held.values()} - {""}
        return next(
            (
                entry
                for entry in self._waiting[namespace].values()
                if entry.wish.has_failed == has_failed and entry.wish.account not in accounts
            ),
            None,
        )
