"""A queue of keys to look at.

Each is looked at by one at a time, again when it is asked for meanwhile, and later when it failed: what
client-go calls a rate limiting work queue (util/workqueue).
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
"""Seconds after a first failure, and at most."""


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
        """Have `key` looked at in `after` seconds, or earlier if that is asked for too."""
        with self._changed:
            when = self._clock() + after
            if key in self._due and self._due[key] <= when:
                return
            self._due[key] = when
            self._count += 1
            heapq.heappush(self._heap, (when, self._count, key))
            self._changed.notify()

    def take(self) -> K | None:
        """The next key that is due, waiting for one; None once the queue is closed."""
        with self._changed:
            while not self._closed:
                key, wait = self._next()
                if key is not None:
                    self._busy.add(key)
                    return key
                self._changed.wait(wait)
            return None

    def done(self, key: K, again: float | None) -> None:
        """`key` was looked at: look again in `again` seconds, or, with None, it failed: ever later."""
        with self._changed:
            self._busy.discard(key)
            failures = 0 if again is not None else self._failures.get(key, 0) + 1
            self._failures[key] = failures
            self._changed.notify_all()
        self.add(key, again if again is not None else min(CAP, FIRST * 2.0 ** min(failures - 1, 10)))

    def forget(self, key: K) -> None:
        """`key` is gone; what was asked for meanwhile, as by one of that name made anew, is still due."""
        with self._changed:
            self._busy.discard(key)
            self._failures.pop(key, None)
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        """How many are due and not yet taken."""
        with self._changed:
            now = self._clock()
            return sum(when <= now for when in self._due.values())

    def _next(self) -> tuple[K | None, float | None]:
        """A key that is due and not being looked at, or how long to wait; stale entries are dropped."""
        held: list[tuple[float, int, K]] = []
        found, wait = None, None
        while self._heap:
            entry = heapq.heappop(self._heap)
            when, _, key = entry
            if self._due.get(key) != when:
                continue
            if when > self._clock():
                held.append(entry)
                wait = when - self._clock()
                break
            if key in self._busy:  # `done` wakes us
                held.append(entry)
                continue
            del self._due[key]
            found = key
            break
        for entry in held:
            heapq.heappush(self._heap, entry)
        return found, wait
