"""Transfer rates over the last seconds."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from workflows.status.nodes import Leaf

WINDOW: Final = 10.0
"""Seconds a rate looks back: long enough to be calm, short enough to notice a stall."""


class Rates:
    """Bytes per second of each stage and disk."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str | None], deque[tuple[float, int]]] = {}

    def note(self, leaf: Leaf) -> None:
        """Record the progress of a stage."""
        seen = self._seen.setdefault((leaf.stage, leaf.disk), deque())
        if seen and seen[-1][1] > leaf.done:  # a new attempt started from its own offset
            seen.clear()
        seen.append((self._clock(), leaf.done))
        while len(seen) > 2 and seen[-1][0] - seen[0][0] > WINDOW:
            seen.popleft()

    def of(self, leaf: Leaf) -> float:
        """Bytes per second, 0 while unknown."""
        seen = self._seen.get((leaf.stage, leaf.disk))
        now = self._clock()
        if not seen or len(seen) < 2 or now - seen[-1][0] > WINDOW:  # a stall
            return 0.0
        seconds = now - seen[0][0]
        return (seen[-1][1] - seen[0][1]) / seconds if seconds else 0.0
