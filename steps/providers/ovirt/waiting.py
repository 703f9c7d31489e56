"""Waiting for the engine: its long work shows as a status."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from steps.runtime.stop import Stop

POLL_SECONDS: Final = 2.0
CLOCK: Final = time.monotonic


def until(condition: Callable[[], bool], seconds: float, stop: Stop, *, pause: float = POLL_SECONDS) -> bool:
    """Whether the condition is met within so many seconds. Raises Stopped."""
    end = CLOCK() + seconds
    while not condition():
        if CLOCK() >= end:
            return False
        stop.sleep(pause)
    return True
