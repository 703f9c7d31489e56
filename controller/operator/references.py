"""Which objects refer to which other ones, in both directions; a target without references is forgotten."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T", bound=Hashable)


class References(Generic[K, T]):
    """Each key refers to at most one target. It contains the targets. The caller has a lock."""

    def __init__(self) -> None:
        self._targets: dict[K, T] = {}
        self._keys: dict[T, set[K]] = {}

    def put(self, key: K, target: T | None) -> T | None:
        """Let `key` refer to `target`, or to nothing; returns to what it referred before."""
        before = self._targets.pop(key, None)
        if before is not None:
            keys = self._keys[before]
            keys.discard(key)
            if not keys:
                del self._keys[before]
        if target is not None:
            self._targets[key] = target
            self._keys.setdefault(target, set()).add(key)
        return before

    def __contains__(self, target: T) -> bool:
        return target in self._keys

    def __iter__(self) -> Iterator[T]:
        return iter(self._keys)

    def keys(self, target: T) -> frozenset[K]:
        """The keys that refer to the target."""
        return frozenset(self._keys.get(target, ()))
