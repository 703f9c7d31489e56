"""A queue of keys to reconcile.

Only one worker at a time has a key. A key that is added meanwhile is due again; a failed key is due later.
client-go calls this a rate limiting work queue (util/workqueue).
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

K = TypeVar("K")

FIRST: Final = 1.0
CAP: Final = 60.0
"""Seconds of delay after the first failure, and the maximum."""


class Queue(Generic[K]):
    """Keys, each with the time from which it is due."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
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
                key, wait = self._next()
                if key is not None:
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

    def _next(self) -> tuple[K | None, float | None]:
        """A due key that no worker has, or the seconds to wait; stale entries are dropped."""
        set_aside: list[tuple[float, int, K]] = []
        due_key, wait = None, None
        while self._heap:
            entry = heapq.heappop(self._heap)
            when, _, key = entry
            if self._due.get(key) != when:
                continue
            if when > self._clock():
                set_aside.append(entry)
                wait = when - self._clock()
                break
            if key in self._busy:  # `done` notifies
                set_aside.append(entry)
                continue
            del self._due[key]
            due_key = key
            break
        for entry in set_aside:
            heapq.heappush(self._heap, entry)
        return due_key, wait
