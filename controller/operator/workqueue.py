"""A queue of keys to reconcile.

Only one worker at a time has a key. A key that is added meanwhile is due again; a failed key is due later.
client-go calls this a rate limiting work queue (util/workqueue).

Groups of keys take turns, so that a namespace with hundreds of due keys delays another namespace by one key,
not by all of them.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K")

FIRST: Final = 1.0
CAP: Final = 60.0
"""Seconds of delay after the first failure, and the maximum."""


class Queue(Generic[K]):
    """Keys, each with the time from which it is due.

    `group` is the group of a key; the groups take turns. `at_once` is the most keys of one group that workers
    have at a time; None for any number.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        group: Callable[[K], Hashable] = lambda _: None,
        at_once: int | None = None,
    ) -> None:
        self._clock = clock
        self._group = group
        self._at_once = at_once
        self._changed = threading.Condition()
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._ready: dict[Hashable, dict[K, None]] = {}
        """Due keys by group, in their order; the group whose turn is next comes first."""
        self._count = 0
        self._busy: set[K] = set()
        self._failures: dict[K, int] = {}
        self._closed = False

    def add(self, key: K, after: float = 0.0) -> None:
        """Make `key` due in `after` seconds, or earlier if it is already due earlier."""
        with self._changed:
            when = self._clock() + after
            if key in self._due and self._due[key] <= when:
                return
            self._due[key] = when
            self._count += 1
            heapq.heappush(self._heap, (when, self._count, key))
            self._changed.notify()

    def take(self) -> K | None:
        """Wait for the next due key and return it; None when the queue is closed."""
        with self._changed:
            while not self._closed:
                wait = self._sort()
                key = self._next()
                if key is not None:
                    del self._due[key]
                    self._busy.add(key)
                    return key
                self._changed.wait(wait)
            return None

    def done(self, key: K, again: float | None) -> None:
        """Finish `key` and requeue it in `again` seconds; None: it failed, use exponential backoff."""
        with self._changed:
            self._busy.discard(key)
            failures = 0 if again is not None else self._failures.get(key, 0) + 1
            self._failures[key] = failures
            self._changed.notify_all()
        self.add(key, again if again is not None else min(CAP, FIRST * 2.0 ** min(failures - 1, 10)))

    def forget(self, key: K) -> None:
        """Forget `key`, whose object was deleted. If it was added meanwhile (recreated), it is still due."""
        with self._changed:
            self._busy.discard(key)
            self._failures.pop(key, None)
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        """The number of due keys that were not taken."""
        with self._changed:
            now = self._clock()
            return sum(when <= now for when in self._due.values())

    def _sort(self) -> float | None:
        """Move due keys to their groups. Returns the seconds until the next one; None if there is none."""
        now = self._clock()
        while self._heap:
            when, _, key = self._heap[0]
            if self._due.get(key) == when and when > now:
                return when - now
            heapq.heappop(self._heap)
            if self._due.get(key) == when:  # else it was added again for an earlier time, or taken
                self._ready.setdefault(self._group(key), {})[key] = None
        return None

    def _next(self) -> K | None:
        """The first key that no worker has, of the group whose turn it is. `done` wakes the workers."""
        for group, keys in self._ready.items():
            busy = sum(self._group(key) == group for key in self._busy)
            if self._at_once is not None and busy >= self._at_once:
                continue
            key = next((key for key in keys if key not in self._busy), None)
            if key is None:
                continue
            del keys[key]
            del self._ready[group]
            if keys:
                self._ready[group] = keys  # at the end: the other groups come first
            return key
        return None
